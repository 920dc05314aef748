"""A daemon that ignores every signal that can be ignored."""

import contextlib
import ctypes
import os
import signal
import time

if os.fork() == 0:
    os.setsid()
    ctypes.CDLL(None).prctl(15, b"polymath-escape", 0, 0, 0)
    for number in signal.valid_signals():
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_IGN)
    time.sleep(300)
    os._exit(0)
