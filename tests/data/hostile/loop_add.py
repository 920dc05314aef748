"""Loops for ever inside `add`."""


def add(a, b):
    while True:
        pass
