"""Judging tasks of earlier steps: a policy that writes no wrong answers any more would forget what one is."""

import random
from collections.abc import Collection

from rl.cases import Case, Side


class Replay:
    """Of each domain and side the `size` cases that were written last.

    What is in it follows from the cases alone: after a resume, add them again and go on.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._piles: dict[str, dict[Side, dict[tuple[str, ...], Case]]] = {}

    def domains(self) -> list[str]:
        """Those that have ever had a case."""
        return list(self._piles)

    def add(self, case: Case) -> None:
        """Take a case in, or what is known of it by now, and let the oldest of its pile go."""
        piles, side, key = self._piles.setdefault(case.domain, {}), case.side(), case.identity()
        for other, pile in piles.items():
            if other != side:
                pile.pop(key, None)  # its label is another one now
        pile = piles.setdefault(side, {})
        pile[key] = case  # one that is asked about again stays as old as it is
        while len(pile) > self.size:
            del pile[next(iter(pile))]

    def draw(
        self, domain: str, side: Side, count: int, rng: random.Random, besides: Collection[tuple[str, ...]] = ()
    ) -> list[Case]:
        """Different cases, `count` or as many as there are, none of those."""
        pile = self._piles.get(domain, {}).get(side, {})
        cases = [case for key, case in pile.items() if key not in besides]
        return rng.sample(cases, min(max(count, 0), len(cases)))
