"""A result line of 100 MB on every descriptor."""

import contextlib
import os


def add(a, b):
    line = b'{"case": 0, "value": "' + b"x" * 10**8 + b'"}\n'
    for descriptor in range(1, 256):
        with contextlib.suppress(OSError):
            os.write(descriptor, line)
