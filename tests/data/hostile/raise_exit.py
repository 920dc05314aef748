"""Raises `SystemExit` with codes that are no numbers."""


class Code:
    def __str__(self):
        raise SystemExit(0)


def add(a, b):
    raise SystemExit(Code() if a == 2 else 0)
