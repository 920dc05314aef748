"""Has no `add`, but a module that answers for every name."""


class Equal:
    def __eq__(self, other):
        return True

    __hash__ = None  # type: ignore


def __getattr__(name):
    return lambda *_: Equal()
