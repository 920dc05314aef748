"""Dynamic sampling (DAPO, arXiv 2503.14476, section 3.2): a group whose completions are all worth the same teaches
nothing, and gives its place to another prompt of the same domain and mode."""

import random
from collections.abc import Sequence
from typing import Any

import torch

Batch = dict[str, Any]


def has_signal(rewards_GK: torch.Tensor) -> torch.Tensor:
    """`[G]`: whether the K rewards of a group differ; NaN is a completion that nothing could score."""
    high_G = rewards_GK.nan_to_num(nan=-torch.inf).amax(1)
    low_G = rewards_GK.nan_to_num(nan=torch.inf).amin(1)
    return high_G - low_G > 1e-6


class Reserve:
    """Prompts drawn beside those of the batches; which are taken depends on the seed, step and round alone."""

    def __init__(self, rows: Sequence[Batch], rounds: int, seed: int) -> None:
        self.rounds, self.seed = rounds if rows else 0, seed
        self._rows: dict[tuple[str, str], list[Batch]] = {}
        for row in rows:
            self._rows.setdefault((row["domain"], row["mode"]), []).append(row)

    def replacements(self, rows: Sequence[Batch], step: int, attempt: int) -> list[Batch]:
        """Another row of the same domain and mode for each of these; a different one each, as far as there are."""
        taken: dict[tuple[str, str], int] = {}
        found = []
        for row in rows:
            key = (row["domain"], row["mode"])
            own = self._rows.get(key) or [row]
            if key not in taken:
                taken[key] = random.Random(f"{self.seed}/{step}/{attempt}/{key}").randrange(len(own))
            found.append(own[taken[key] % len(own)])
            taken[key] += 1
        return found
