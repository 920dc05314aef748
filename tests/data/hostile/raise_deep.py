"""Raises an exception from ten thousand others."""


def add(a, b):
    error = ValueError("first")
    for _ in range(10_000):
        try:
            raise ValueError("next") from error
        except ValueError as raised:
            error = raised
    raise error
