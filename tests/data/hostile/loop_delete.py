"""Loops in the destructor of a global, when the interpreter ends."""


class Last:
    def __del__(self):
        while True:
            pass


last = Last()
