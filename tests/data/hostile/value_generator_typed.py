"""Returns iterators without end that look like lists of numbers."""

import itertools


def add(a, b):
    return itertools.count(a) if a == 2 else itertools.repeat(a)
