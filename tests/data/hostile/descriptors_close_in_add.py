"""Closes every descriptor, inside `add`."""

import os


def add(a, b):
    os.closerange(0, 4096)
    return "closed"
