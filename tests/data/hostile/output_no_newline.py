"""Writes to stdout for ever without ending a line."""

import sys

while True:
    sys.stdout.write("x" * 2**16)
