"""A number of a million digits."""


def add(a, b):
    return 10**1_000_000
