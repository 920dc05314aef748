"""Judging tasks of earlier steps: a policy that writes no wrong answers any more would forget what one is."""

import random
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

Line = Mapping[str, Any]  # of `judgments.jsonl`
Side = Literal["right", "wrong", "several"]


def side(labels: Sequence[float]) -> Side:
    """Of a single response, on which side of the scale it is."""
    if len(labels) > 1:
        return "several"
    return "right" if labels[0] > 0.5 else "wrong"


def identity(shown: Mapping[str, Any]) -> tuple[str, ...]:
    """What a judge is shown, in whatever order."""
    return (shown["task"], *sorted(shown["responses"]))


class Replay:
    """Of each domain and side the `size` tasks that were written last, each as a line that was kept of it.

    What is in it follows from the lines alone: after a resume, add them again and go on.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._piles: dict[str, dict[Side, dict[tuple[str, ...], Line]]] = {}

    def domains(self) -> list[str]:
        """Those that have ever had a task."""
        return list(self._piles)

    def add(self, line: Line) -> None:
        """Take a task in, or what is known of it by now, and let the oldest of its pile go."""
        piles, own, key = self._piles.setdefault(line["domain"], {}), side(line["labels"]), identity(line["shown"])
        for other, pile in piles.items():
            if other != own:
                pile.pop(key, None)  # its label is another one now
        pile = piles.setdefault(own, {})
        pile[key] = line  # one that is asked again stays as old as it is
        while len(pile) > self.size:
            del pile[next(iter(pile))]

    def draw(
        self, domain: str, side: Side, count: int, rng: random.Random, besides: Collection[tuple[str, ...]] = ()
    ) -> list[Line]:
        """Different tasks, `count` or as many as there are, none of those."""
        pile = self._piles.get(domain, {}).get(side, {})
        lines = [line for key, line in pile.items() if key not in besides]
        return rng.sample(lines, min(max(count, 0), len(lines)))
