"""Loops for ever and swallows whatever is raised into it."""


def add(a, b):
    while True:
        try:
            while True:
                pass
        except BaseException:
            continue
