"""Raises an exception whose text, name and class raise again."""


class Name(type):
    def __getattribute__(cls, name):
        raise SystemExit(0)


class Raising(Exception, metaclass=Name):
    def __str__(self):
        raise SystemExit(0)

    __repr__ = __str__


def add(a, b):
    raise Raising
