"""Raises `GeneratorExit` and `StopIteration`, which loops take for their end."""


def add(a, b):
    raise GeneratorExit if a == 2 else StopIteration(6)
