"""Writes to stdout and stderr for ever, inside `add`."""

import os


def add(a, b):
    while True:
        os.write(1, b"x" * 2**16)
        os.write(2, b"x" * 2**16)
