"""Raises exceptions that are the cause of each other."""


def add(a, b):
    one, two = ValueError("x" * 10**7), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    one.__context__, two.__context__ = two, one
    raise ExceptionGroup("group", [one, two] * 10_000)
