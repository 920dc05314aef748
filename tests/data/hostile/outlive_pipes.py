"""A daemon that keeps stdout and stderr open, so that who reads to the end waits."""

import os
import time


def add(a, b):
    if os.fork() == 0:
        os.setsid()
        time.sleep(300)
        os._exit(0)
    os._exit(0)
