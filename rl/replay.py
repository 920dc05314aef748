"""Judging tasks of earlier steps: a policy that writes no wrong answers any more would forget what one is."""

import random
from collections.abc import Mapping, Sequence
from typing import Any, Literal

Line = Mapping[str, Any]  # of `judgments.jsonl`
Side = Literal["right", "wrong", "several"]


def side(labels: Sequence[float]) -> Side:
    """Of a single response, on which side of the scale it is."""
    if len(labels) > 1:
        return "several"
    return "right" if labels[0] > 0.5 else "wrong"


class Replay:
    """Of each domain and side the latest `size` tasks, each as the line that was kept of it.

    What is in it follows from the lines alone: after a resume, add them again and go on.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._piles: dict[tuple[str, Side], dict[str, Line]] = {}  # by what was asked

    def add(self, line: Line) -> None:
        """Take a task in as the latest one, and let the oldest of its pile go."""
        pile = self._piles.setdefault((line["domain"], side(line["labels"])), {})
        pile.pop(line["asked"], None)
        pile[line["asked"]] = line
        while len(pile) > self.size:
            del pile[next(iter(pile))]

    def draw(self, domain: str, side: Side, count: int, rng: random.Random) -> list[Line]:
        """Different tasks, `count` or as many as there are."""
        pile = list(self._piles.get((domain, side), {}).values())
        return rng.sample(pile, min(max(count, 0), len(pile)))
