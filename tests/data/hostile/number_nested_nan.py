"""Not a number within lists, dictionaries and complex numbers."""


def add(a, b):
    return [float("nan"), {"value": float("-inf")}, complex("nan+infj")]
