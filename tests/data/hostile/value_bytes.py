"""Returns bytes, sets and complex numbers, which JSON has no form for."""


def add(a, b):
    return {2: b"\xff\x00", -7: {6, 7}, 10**12: 6 + 0j}.get(a, frozenset())
