"""Sleeps for ever inside `add`, taking no time of the processor."""

import signal


def add(a, b):
    while True:
        signal.pause()
