"""Leaves every child that it can make unreaped."""

import os
import time

for _ in range(100_000):
    try:
        if os.fork() == 0:
            os._exit(0)
    except OSError:
        break
time.sleep(300)
