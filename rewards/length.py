"""What length costs, counted in tokens that the model wrote; pure functions, and the rewards made of them.

Groups are (prompt, mode), and advantages are centred within a group, so lengths compare within one mode alone.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, PositiveInt

from polymath.completion import Completion
from rewards.base import RewardConfig, Workbench
from rewards.score import Score


def length_penalty(reasoning_tokens: int, k: float, length_norm: int, maximum: float) -> float:
    """`-min(maximum, k * reasoning_tokens / length_norm)`: V4.1 report, section 5.1.4.

    `k` belongs to the mode; the report's falls with the mode's effort b, as `k_0 * exp(-(b - b_min) / tau)`.
    """
    return -min(maximum, k * reasoning_tokens / length_norm)


def soft_overlong(tokens: int, budget: int, ramp: int) -> float:
    """DAPO's soft overlong punishment (arXiv 2503.14476, eq. 13): 0 to `budget - ramp`, down to -1 at `budget`."""
    return max(-1.0, min(0.0, (budget - ramp - tokens) / ramp))


def l1_exact(tokens: int, target: int, alpha: float) -> float:
    """`-alpha * |target - tokens|`, to be added to correctness: LCPO-Exact (arXiv 2503.04697, eq. 2)."""
    return -alpha * abs(target - tokens)


def l1_max(tokens: int, target: int, alpha: float, delta: float) -> float:
    """`clip(alpha * (target - tokens) + delta, 0, 1)`, to multiply correctness by: LCPO-Max (eq. 3)."""
    return max(0.0, min(1.0, alpha * (target - tokens) + delta))


class LengthPenalty(RewardConfig):
    """The V4.1 penalty on reasoning; k is the `length_penalty` of each mode."""

    name: Literal["length_penalty"] = "length_penalty"
    length_norm: PositiveInt = Field(default=256, description="Reasoning tokens at which the penalty is the mode's k.")
    maximum: float = Field(default=0.5, ge=0, description="The largest penalty, C_max.")

    def __call__(self, completions: Sequence[Completion], bench: Workbench) -> list[Score | None]:
        return [
            Score(length_penalty(c.reasoning_tokens, c.length_penalty, self.length_norm, self.maximum))
            for c in completions
        ]


class SoftOverlong(RewardConfig):
    """DAPO's ramp before a mode's budget."""

    name: Literal["soft_overlong"] = "soft_overlong"
    ramp: float = Field(default=0.2, gt=0, le=1, description="The share of the budget over which it grows to -1.")

    def __call__(self, completions: Sequence[Completion], bench: Workbench) -> list[Score | None]:
        return [Score(soft_overlong(c.tokens, c.budget, max(1, round(self.ramp * c.budget)))) for c in completions]


class Target(RewardConfig):
    """What the two rewards of a target length share."""

    target: PositiveInt | dict[str, PositiveInt] = Field(
        description="Tokens to write; one number, or one for each mode."
    )
    alpha: float = Field(default=0.0003, gt=0)

    def target_of(self, completion: Completion) -> int | None:
        """The target of a completion's mode; None where it has none."""
        return self.target.get(completion.mode) if isinstance(self.target, dict) else self.target


class L1Exact(Target):
    """LCPO-Exact: what is written beside a target costs, in both directions; added to the verifier's reward."""

    name: Literal["l1_exact"] = "l1_exact"

    def __call__(self, completions: Sequence[Completion], bench: Workbench) -> list[Score | None]:
        targets = map(self.target_of, completions)
        return [
            None if target is None else Score(l1_exact(c.tokens, target, self.alpha))
            for c, target in zip(completions, targets, strict=True)
        ]


class L1Max(Target):
    """LCPO-Max: the verifier's reward, times what the length leaves of it; stands in the verifier's place."""

    name: Literal["l1_max"] = "l1_max"
    delta: float = Field(default=0.5, ge=0, le=1)

    async def __call__(self, completions: Sequence[Completion], bench: Workbench) -> list[Score | None]:
        return [
            self._scaled(c, verdict) for c, verdict in zip(completions, await bench.verify(completions), strict=True)
        ]

    def _scaled(self, completion: Completion, verdict: Score) -> Score | None:
        target = self.target_of(completion)
        if target is None:
            return verdict
        scale = l1_max(completion.tokens, target, self.alpha, self.delta)
        return Score(verdict.value * scale, {"correct": verdict.value, "length": scale}, verdict.faults)
