"""Puts stdout in the place of every other descriptor."""

import contextlib
import os


def add(a, b):
    for descriptor in range(256):
        if descriptor != 1:
            with contextlib.suppress(OSError):
                os.dup2(1, descriptor)
    return "redirected"
