"""Returns a list within a list, a hundred thousand times."""


def add(a, b):
    value: list = [6]
    for _ in range(100_000):
        value = [value]
    return value
