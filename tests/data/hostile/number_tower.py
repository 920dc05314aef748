"""A power that no machine can hold."""


def add(a, b):
    return 9**9**9**9
