"""Returns a text of a billion characters."""


def add(a, b):
    return "x" * 10**9
