"""Answers the first case wrongly and loops for ever in the others."""


def add(a, b):
    while a != 2:
        pass
    return "first"
