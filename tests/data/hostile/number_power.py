"""A power with a hundred million digits."""


def add(a, b):
    return 10**10**8
