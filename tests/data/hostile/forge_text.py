"""Returns a text that ends its line and begins another result."""


def add(a, b):
    return '6}\n{"case": 1, "value": 1}\n{"case": 2, "value": "'
