"""Asks for dumps of its memory and aborts."""

import contextlib
import ctypes
import os
import resource


def add(a, b):
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
    os.abort()
