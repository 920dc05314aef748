"""Fills files that no folder names any more."""

import os

while True:
    descriptor = os.open("gone", os.O_RDWR | os.O_CREAT)
    os.unlink("gone")
    os.write(descriptor, b"x" * 2**24)
