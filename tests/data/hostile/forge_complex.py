"""Writes a number that is too large for its type into every pipe."""

import os

for fd in range(3, 64):
    try:
        os.write(fd, b'{"value": ["complex", [1' + b"0" * 400 + b", 0]]}\n")
    except OSError:
        pass


def add(a, b):
    return 6
