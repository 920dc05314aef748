"""Returns a list of ten million numbers."""


def add(a, b):
    return [6] * 10**7
