"""Returns functions, modules, classes and the builtins themselves."""

import builtins
import sys


def add(a, b):
    return {2: add, -7: sys, 10**12: type}.get(a, builtins)
