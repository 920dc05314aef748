"""Answers a termination with another loop, in a handler, in `finally` and at exit."""

import atexit
import signal


def loop(*_):
    while True:
        pass


atexit.register(loop)
signal.signal(signal.SIGTERM, loop)
signal.signal(signal.SIGINT, loop)


def add(a, b):
    try:
        raise SystemExit(0)
    finally:
        loop()
