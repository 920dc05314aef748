"""Returns an object that takes for ever to show, to compare, to measure and to convert."""


class Endless:
    def loop(self, *_):
        while True:
            pass

    __repr__ = __str__ = __eq__ = __bool__ = __iter__ = __len__ = __hash__ = __int__ = __float__ = loop  # type: ignore


def add(a, b):
    return Endless()
