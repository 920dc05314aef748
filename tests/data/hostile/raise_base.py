"""Raises an exception that is none of `Exception`."""


class Leave(BaseException):
    pass


def add(a, b):
    raise Leave
