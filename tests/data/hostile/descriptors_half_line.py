"""Leaves half a result on every descriptor and ends."""

import contextlib
import os


def add(a, b):
    for descriptor in range(1, 256):
        with contextlib.suppress(OSError):
            os.write(descriptor, b'{"case": 0, "val')
    os._exit(0)
