"""Returns a generator without end."""


def add(a, b):
    while True:
        yield a
