"""Returns twice: parent and child both carry the case to its end."""

import os


def add(a, b):
    return "child" if os.fork() == 0 else "parent"
