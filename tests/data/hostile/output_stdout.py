"""Writes lines to stdout for ever."""

while True:
    print("x" * 1000)
