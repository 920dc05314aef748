"""The contract: a reward takes the completions of a batch and gives each a score, or None where it does not apply."""

import inspect
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from polymath.completion import Completion
from rewards.sandbox import SandboxError


class RewardError(ValueError):
    """A reward, or what it was given, does not keep to the contract; the message names it."""


@dataclass(frozen=True)
class Score:
    """What a completion is worth: `value` is what trains, `parts` what it is made of, `faults` why it is not more."""

    value: float
    parts: Mapping[str, float] = field(default_factory=dict)
    faults: tuple[str, ...] = ()


Scores = Sequence[Score | float | None]
Reward = Callable[[Sequence[Completion]], Scores | Awaitable[Scores]]


async def score_batch(name: str, reward: Reward, completions: Sequence[Completion]) -> list[Score | None]:
    """Apply a reward, whether it is async or not. Raises `RewardError` where it does not keep to the contract."""
    try:
        given = reward(completions)
        values = await given if inspect.isawaitable(given) else given
    except (RewardError, SandboxError, ImportError):
        raise
    except Exception as error:  # the trust boundary to a user's function
        raise RewardError(f"reward {name!r} raised {type(error).__name__}: {error}") from error
    if not isinstance(values, Sequence) or len(values) != len(completions):
        got = f"{len(values)} of them" if isinstance(values, Sequence) else type(values).__name__
        raise RewardError(f"reward {name!r}: meant is a list of {len(completions)} scores, and it gave {got}")
    return [_checked(name, value) for value in values]


def _checked(name: str, value: Score | float | None) -> Score | None:
    if value is None:
        return None
    score = value if isinstance(value, Score) else Score(value)
    for what, number in {"a score": score.value, **score.parts}.items():
        if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) < math.inf:
            raise RewardError(f"reward {name!r}: {what} is a finite number, and it gave {number!r:.200}")
    if isinstance(score.faults, str):
        raise RewardError(f"reward {name!r}: faults are a tuple of texts, and it gave {score.faults!r:.200}")
    return score
