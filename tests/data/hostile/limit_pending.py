"""Fills queues of signals, timers, watches and locks."""

import contextlib
import ctypes
import os
import signal


def add(a, b):
    libc = ctypes.CDLL(None)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    for _ in range(10**5):
        libc.sigqueue(os.getpid(), 40, None)
        libc.timer_create(1, None, ctypes.byref(ctypes.c_void_p()))
        libc.inotify_init()
        libc.epoll_create(1)
        with contextlib.suppress(OSError):
            os.eventfd(0)
