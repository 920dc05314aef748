"""Groups of a batch: their rows, one after the other, with what was sampled for them and what that is worth."""

from dataclasses import dataclass
from typing import Any

import torch

from polymath.episodes import Episode

Batch = dict[str, Any]


@dataclass
class Groups:
    """Rows in groups of `size`, each row with its episode; `rewards_BR` is NaN where a reward does not apply."""

    rows: list[Batch]
    episodes: list[Episode]
    rewards_BR: torch.Tensor
    size: int

    def __add__(self, other: "Groups") -> "Groups":
        rewards_BR = torch.cat([self.rewards_BR, other.rewards_BR])
        return Groups(self.rows + other.rows, self.episodes + other.episodes, rewards_BR, self.size)

    def first_rows(self, groups: list[int]) -> list[Batch]:
        """One row of each of these groups."""
        return [self.rows[group * self.size] for group in groups]

    def put(self, group: int, other: "Groups", theirs: int) -> None:
        """Let one of the other's groups take the place of a group."""
        ours, own = (slice(place * self.size, (place + 1) * self.size) for place in (group, theirs))
        self.rows[ours], self.episodes[ours] = other.rows[own], other.episodes[own]
        self.rewards_BR[ours] = other.rewards_BR[own]
