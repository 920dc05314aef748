"""Raises `MemoryError` and `RecursionError` while nothing is short."""


def add(a, b):
    raise MemoryError if a == 2 else RecursionError
