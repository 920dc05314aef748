"""Outcome rewards beside the divergence: what a completion is worth to its verifier, not to its teacher.

    A_i = r_i - mean of r over the step's completions of the same domain and mode        each prompt has one
    gradient of a token = gradient of its divergence - outcome_weight * A_i * grad log p(token)

MiMo-V2-Flash adds a group's advantage to that of its sampled estimate in the same way (arXiv 2601.02780).
"""

import asyncio
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from accelerate.utils import gather_object

from rewards.scorer import Scorer


@dataclass(frozen=True)
class Outcome:
    """The rewards of a stage, and how much they count beside the divergence."""

    scorer: Scorer
    weight: float

    def rewards(self, rows: Sequence[dict[str, Any]]) -> list[float]:
        """Of sampled rows; NaN where no reward applies."""
        return asyncio.run(self.scorer.totals([row["sample"] for row in rows]))

    def advantages(self, rows: Sequence[dict[str, Any]], rewards: Sequence[float]) -> list[float]:
        """Weighted, against the rows of all processes."""
        own = [(f"{row['domain']}/{row['mode']}", reward) for row, reward in zip(rows, rewards, strict=True)]
        return [self.weight * value for value in above_their_group(own, gather_object(own))]


def above_their_group(own: Sequence[tuple[str, float]], known: Sequence[tuple[str, float]]) -> list[float]:
    """Each reward less the mean of its group's among those that are known; 0 where there is no reward."""
    groups: defaultdict[str, list[float]] = defaultdict(list)
    for group, reward in known:
        if not math.isnan(reward):
            groups[group].append(reward)
    means = {group: sum(values) / len(values) for group, values in groups.items()}
    return [0.0 if math.isnan(reward) else reward - means[group] for group, reward in own]
