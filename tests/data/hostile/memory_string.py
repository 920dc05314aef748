"""Doubles a text for ever, inside `add`."""


def add(a, b):
    text = "x"
    while True:
        text += text
