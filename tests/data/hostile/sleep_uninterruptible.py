"""Waits in `vfork` for a child that never ends."""

import ctypes


def add(a, b):
    libc = ctypes.CDLL(None)
    if libc.vfork() == 0:
        while True:
            libc.pause()
