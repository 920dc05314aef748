"""Grows a list for ever, inside `add`."""


def add(a, b):
    held = [a]
    while True:
        held.extend(held)
