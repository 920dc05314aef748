"""Returns a text of ten million characters that grows when it is escaped."""


def add(a, b):
    return "\x00" * 10**7
