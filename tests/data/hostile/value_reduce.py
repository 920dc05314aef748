"""Returns an object that runs a command when it is unpickled."""

import os


class Packed:
    def __reduce__(self):
        return os.system, ("touch /tmp/polymath-escape-reduce",)

    def __getstate__(self):
        return {"value": 6}


def add(a, b):
    return Packed()
