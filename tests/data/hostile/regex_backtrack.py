"""A pattern whose search takes exponential time."""

import re


def add(a, b):
    return re.match(r"(a|aa)+$", "a" * 200 + "b")
