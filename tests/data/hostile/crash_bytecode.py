"""Runs code that no compiler makes."""


def add(a, b):
    exec(add.__code__.replace(co_code=b"d\xff" * 100, co_consts=(), co_stacksize=0))
