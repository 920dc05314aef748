"""Ends the process from a thread while the case runs."""

import os
import threading
import time


def add(a, b):
    threading.Timer(0.05, os._exit, (0,)).start()
    time.sleep(1)
