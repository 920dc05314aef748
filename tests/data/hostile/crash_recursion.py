"""Lifts the limit on depth and overflows the stack."""

import sys

sys.setrecursionlimit(2**31 - 1)


def deeper(value):
    return repr(sorted([value], key=deeper))


def add(a, b):
    return deeper(a)
