"""A recipe's rewards as TRL calls them: columns in, one number a completion out."""

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from polymath.completion import Completion
from rewards.base import RewardConfig, Workbench
from rewards.score import Score, score_batch

RewardFunction = Callable[..., Awaitable[list[float | None]]]


class Scorer:
    """The rewards of a stage, and what they said of the latest batch."""

    def __init__(self, settings: Sequence[RewardConfig], bench: Workbench) -> None:
        self.bench = bench
        self.settings = dict(zip(_labels(settings), settings, strict=True))
        self.latest: dict[str, list[Score | None]] = {}

    def functions(self) -> list[RewardFunction]:
        """One a reward, each named as its metric is; TRL awaits them together."""
        return [self._function(label, setting) for label, setting in self.settings.items()]

    def weights(self) -> list[float]:
        """In the same order."""
        return [setting.weight for setting in self.settings.values()]

    async def totals(self, samples: Sequence[Completion]) -> list[float]:
        """The weighted sum of each completion's rewards; NaN where none applies."""
        columns = await asyncio.gather(*(function(sample=samples) for function in self.functions()))
        totals = []
        for values in zip(*columns, strict=True):
            parts = [w * value for w, value in zip(self.weights(), values, strict=True) if value is not None]
            totals.append(sum(parts) if parts else math.nan)
        return totals

    def _function(self, label: str, setting: RewardConfig) -> RewardFunction:
        async def reward(sample: list[Completion], **_: Any) -> list[float | None]:
            scores = await score_batch(label, lambda completions: setting(completions, self.bench), sample)
            self.latest[label] = scores
            return [None if score is None else score.value for score in scores]

        reward.__name__ = label
        return reward

    def means(self) -> dict[str, float]:
        """Mean of each reward over the rows that have it: `reward/<name>`."""
        values = {label: [own.value for own in scores if own] for label, scores in self.latest.items()}
        return {f"reward/{label}": sum(own) / len(own) for label, own in values.items() if own}

    def part_means(self) -> dict[str, float]:
        """Mean of each part of each reward over the rows that have it: `reward/<name>/<part>`."""
        values: dict[str, list[float]] = {}
        for label, scores in self.latest.items():
            for score in scores:
                for part, value in score.parts.items() if score else ():
                    values.setdefault(f"reward/{label}/{part}", []).append(value)
        return {name: sum(own) / len(own) for name, own in values.items()}

    def verified(self) -> list[float | None]:
        """Whether each completion of the latest batch is right, where one of the rewards is a verifier's."""
        for label, part in (("verifier", None), ("l1_max", "correct")):
            if scores := self.latest.get(label):
                return [None if own is None else own.parts[part] if part else own.value for own in scores]
        return []

    def told(self, place: int) -> dict[str, Any]:
        """What each reward said of one completion of the latest batch, for a person to read."""
        scores = {label: own[place] for label, own in self.latest.items()}
        return {
            label: {"value": score.value}
            | ({"parts": dict(score.parts)} if score.parts else {})
            | ({"faults": list(score.faults)} if score.faults else {})
            for label, score in scores.items()
            if score
        }


def _labels(settings: Sequence[RewardConfig]) -> list[str]:
    """The rewards' names as metrics have them: a function's without its module, and a second one numbered."""
    names = [setting.name.rpartition(":")[2] for setting in settings]
    seen: Counter[str] = Counter()
    labels = []
    for name in names:
        seen[name] += 1
        labels.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return labels
