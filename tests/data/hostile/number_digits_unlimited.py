"""Lifts the limit on digits, then gives a number of ten million."""

import sys

sys.set_int_max_str_digits(0)


def add(a, b):
    return 7**12_000_000
