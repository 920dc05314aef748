"""Returns dictionaries and tuples within each other, below the limit on depth and above it."""


def add(a, b):
    value: object = 6
    for _ in range(900 if a == 2 else 50_000):
        value = {"value": (value,)}
    return value
