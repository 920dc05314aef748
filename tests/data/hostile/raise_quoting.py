"""Runs code that claims to stand in a file of the host, whose lines a traceback quotes."""


def add(a, b):
    exec(compile("\n" * 2 + "raise ValueError", "/etc/passwd", "exec"))
