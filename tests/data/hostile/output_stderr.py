"""Writes lines to stderr for ever."""

import sys

while True:
    print("x" * 1000, file=sys.stderr)
