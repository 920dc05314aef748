"""Waits for an input that never comes."""

import sys


def add(a, b):
    while True:
        sys.stdin.read()
