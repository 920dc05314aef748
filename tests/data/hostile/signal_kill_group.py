"""Kills its process group."""

import os
import signal


def add(a, b):
    os.kill(0, signal.SIGKILL)
