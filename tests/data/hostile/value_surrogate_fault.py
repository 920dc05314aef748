"""Raises what no file can hold, to stop who writes it down."""


def add(a, b):
    raise ValueError("\ud800 polymath-escape")
