"""A step of a program: its words, its expression in Python, and the function that is trusted.

Every step takes every value of its kind, the empty ones too, so that all compositions whose kinds fit are defined.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["numbers", "text", "number"]
Row = tuple[str, str, Callable[[Any, Any], Any], Sequence[Any]]

NONE: tuple[None] = (None,)  # the parameters of a step that has none


@dataclass(frozen=True)
class Primitive:
    """A step whose parameter `k` is to be chosen; its expression calls the value that it takes by its kind."""

    takes: Kind
    gives: Kind
    words: str
    expression: str
    function: Callable[[Any, Any], Any]
    parameters: Sequence[Any]


@dataclass(frozen=True)
class Step:
    """A primitive and its parameter."""

    primitive: Primitive
    parameter: Any

    @property
    def words(self) -> str:
        """What to do, as an order in English."""
        return self.primitive.words.format(k=self.parameter)

    @property
    def expression(self) -> str:
        """The result, in Python."""
        return self.primitive.expression.format(k=self.parameter)

    def apply(self, value: Any) -> Any:
        """The result, by the trusted function."""
        return self.primitive.function(value, self.parameter)


def primitives(takes: Kind, gives: Kind, rows: Iterable[Row]) -> list[Primitive]:
    """The primitives of a table of words, expressions, functions and parameters."""
    return [Primitive(takes, gives, *row) for row in rows]
