"""`add` returns at once and leaves a daemon behind."""

import ctypes
import os
import time


def add(a, b):
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        ctypes.CDLL(None).prctl(15, b"polymath-escape", 0, 0, 0)
        time.sleep(300)
        os._exit(0)
    return "left a daemon"
