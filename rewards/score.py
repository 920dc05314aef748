"""The contract: a reward takes the completions of a batch and gives each a score, or None where it does not apply."""

import inspect
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from polymath.completion import Completion


@dataclass(frozen=True)
class Score:
    """What a completion is worth: `value` is what trains, `parts` what it is made of, `faults` why it is not more."""

    value: float
    parts: Mapping[str, float] = field(default_factory=dict)
    faults: tuple[str, ...] = ()


Scores = Sequence[Score | float | None]
Reward = Callable[[Sequence[Completion]], Scores | Awaitable[Scores]]


async def score_batch(name: str, reward: Reward, completions: Sequence[Completion]) -> list[Score | None]:
    """Apply a reward, whether it is async or not. Raises `ValueError` where it does not keep to the contract."""
    given = reward(completions)
    values = await given if inspect.isawaitable(given) else given
    if not isinstance(values, Sequence) or len(values) != len(completions):
        got = f"{len(values)} of them" if isinstance(values, Sequence) else type(values).__name__
        raise ValueError(f"reward {name!r}: meant is a list of {len(completions)} scores, and it gave {got}")
    return [_checked(name, value) for value in values]


def _checked(name: str, value: Score | float | None) -> Score | None:
    if value is None:
        return None
    score = value if isinstance(value, Score) else Score(value)
    if isinstance(score.value, bool) or not isinstance(score.value, int | float) or not math.isfinite(score.value):
        raise ValueError(f"reward {name!r}: a score is a finite number, and it gave {score.value!r}")
    return score
