"""A daemon by two forks and `setsid`, named to be found, which sleeps 300 s."""

import ctypes
import os
import time

if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(15, b"polymath-escape", 0, 0, 0)
        time.sleep(300)
    os._exit(0)
