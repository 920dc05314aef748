"""Fills files that lie in memory alone."""

import os

held = []
while True:
    held.append(os.memfd_create("polymath-escape"))
    os.write(held[-1], b"x" * 2**26)
