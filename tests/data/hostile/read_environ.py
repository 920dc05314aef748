"""Returns its environment."""

import os


def add(a, b):
    return dict(os.environ)
