"""Returns texts that no UTF-8 can hold, and texts that turn the line around."""


def add(a, b):
    return "\ud800" + "\udfff" if a == 2 else "\u202e\u2028\u2029\x85\x0b\x1b[1A"
