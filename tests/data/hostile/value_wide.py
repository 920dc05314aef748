"""Returns a small graph that is written out at 2 to the power of 60 values."""


def add(a, b):
    value: list = [6]
    for _ in range(60):
        value = [value, value]
    return value
