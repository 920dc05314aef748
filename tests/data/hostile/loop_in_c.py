"""Stays inside one call of C, where no handler of a signal gets to run."""


def add(a, b):
    return str(sum(range(10**15)))
