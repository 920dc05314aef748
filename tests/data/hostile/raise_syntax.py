"""Raises a syntax error that names a file of the host, whose line a report may quote."""


def add(a, b):
    raise SyntaxError("invalid syntax", ("/etc/passwd", 1, 1, None))
