"""Fills shared memory in many children, which counts as nobody's own."""

import mmap
import os
import time

for _ in range(24):
    if not os.fork():
        shared = mmap.mmap(-1, 200 << 20)
        for page in range(0, 200 << 20, 4096):
            shared[page] = 1
        time.sleep(300)


def add(a, b):
    return 6
