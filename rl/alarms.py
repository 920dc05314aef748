"""Alarms: what a GRPO stage's metrics say when training goes wrong, and which field of the recipe to turn; no torch.

An alarm sounds when its condition begins, and again only after it has been gone. What is remembered follows from the
metrics alone: after a resume, feed the lines of `metrics.jsonl` again and go on.
"""

import math
from collections.abc import Iterator, Mapping

from pydantic import Field, PositiveInt

from polymath.alarms import Alarm
from polymath.strict import StrictModel


class AlarmConfig(StrictModel):
    """When to sound; a step is one that is logged, so that `metrics.jsonl` tells all there is to know."""

    patience: PositiveInt = Field(
        default=3,
        description="Steps in a row before truncation and equal rewards sound, and good ones before any sounds again.",
    )
    window: PositiveInt = Field(
        default=10, description="First steps whose mean is what entropy and lengths are compared with."
    )
    max_clipped_ratio: float = Field(
        default=0.5, ge=0, le=1, description="Share of a mode's completions that reach their budget; 1 is never."
    )
    max_zero_std_share: float = Field(
        default=0.9, ge=0, le=1, description="Share of groups whose rewards are all equal; 1 is never."
    )
    min_entropy_fraction: float = Field(
        default=0.1, ge=0, lt=1, description="Entropy over that of the first steps; 0 is never."
    )
    max_length_factor: float = Field(
        default=3.0, gt=1, description="A mode's mean tokens over those of the first steps, either way."
    )


class Alarms:
    """Watches one stage. `penalties` are its think modes and what reasoning costs in each: None where nothing can."""

    def __init__(self, config: AlarmConfig, penalties: Mapping[str, float | None]) -> None:
        self._config, self._penalties = config, penalties
        self._watches: dict[str, _Watch] = {}
        self._starts: dict[str, _Start] = {}

    def feed(self, step: int, metrics: Mapping[str, float]) -> list[Alarm]:
        """Take one line of metrics, in the order of steps, and return the alarms that begin with it.

        A metric that the line lacks, or that is no finite number, leaves what is known of it as it was.
        """
        known = {name: value for name, value in metrics.items() if _is_number(value)}
        seen = [*self._equal_rewards(step, known), *self._entropy(step, known)]
        for mode in self._penalties:
            seen += [*self._truncation(step, known, mode), *self._length(step, known, mode)]
        return seen

    def _truncation(self, step: int, metrics: Mapping[str, float], mode: str) -> Iterator[Alarm]:
        share, bound = metrics.get(f"length/clipped_ratio/{mode}"), self._config.max_clipped_ratio
        if share is None or not self._begins(f"truncation of {mode}", share > bound, self._config.patience):
            return
        yield Alarm("truncation", step, mode, share, bound, (
            f"step {step}: {_percent(share)} of the completions in mode {mode} reach their budget, over "
            f"{_percent(bound)} for {_count(self._config.patience)}; raise modes.{mode}.max_completion_length"
            + ("" if self._penalties[mode] is None else f", or modes.{mode}.length_penalty, so that shorter is better")
        ))  # fmt: skip

    def _equal_rewards(self, step: int, metrics: Mapping[str, float]) -> Iterator[Alarm]:
        share, bound = metrics.get("reward/zero_std_share"), self._config.max_zero_std_share
        if share is None or not self._begins("equal rewards", share > bound, self._config.patience):
            return
        yield Alarm("equal_rewards", step, None, share, bound, (
            f"step {step}: in {_percent(share)} of the groups all rewards are equal, over {_percent(bound)} for "
            f"{_count(self._config.patience)}, and such a group teaches nothing; "
            f"{_other_tasks(metrics.get('reward/verifier'))}, raise num_generations, or raise temperature"
        ))  # fmt: skip

    def _entropy(self, step: int, metrics: Mapping[str, float]) -> Iterator[Alarm]:
        entropy = metrics.get("policy/entropy")
        start = None if entropy is None else self._start("policy/entropy", entropy)
        if entropy is None or start is None:
            return
        bound = self._config.min_entropy_fraction * start
        if self._begins("entropy collapse", entropy < bound):
            yield Alarm("entropy_collapse", step, None, entropy, bound, (
                f"step {step}: entropy {entropy:.3g} is under {bound:.3g}, {self._config.min_entropy_fraction:g} of "
                f"its mean {start:.3g} in the first {_count(self._config.window)}; lower learning_rate, raise "
                f"epsilon_high, raise beta, or raise temperature"
            ))  # fmt: skip

    def _length(self, step: int, metrics: Mapping[str, float], mode: str) -> Iterator[Alarm]:
        tokens = metrics.get(f"length/{mode}")
        start = None if tokens is None else self._start(f"length/{mode}", tokens)
        if tokens is None or start is None:
            return
        factor = self._config.max_length_factor
        # Two conditions: a length may go from one side right over to the other
        fell = self._begins(f"fall of {mode}", tokens < start / factor)
        if self._begins(f"growth of {mode}", tokens > start * factor):
            yield Alarm("length_drift", step, mode, tokens, start * factor, (
                f"step {step}: completions in mode {mode} have {tokens:.0f} tokens, over {factor:g} times their mean "
                f"{start:.0f} in the first {_count(self._config.window)}; lower modes.{mode}.max_completion_length"
                + ("" if self._penalties[mode] is None else f", or raise modes.{mode}.length_penalty")
            ))  # fmt: skip
        elif fell:
            yield Alarm("length_drift", step, mode, tokens, start / factor, (
                f"step {step}: completions in mode {mode} have {tokens:.0f} tokens, under 1/{factor:g} of their mean "
                f"{start:.0f} in the first {_count(self._config.window)}; lower {self._what_shortens(mode)}"
            ))  # fmt: skip

    def _what_shortens(self, mode: str) -> str:
        """Modes share weights: where one has no penalty, those beside it pull it along."""
        costly = [own for own in (mode, *self._penalties) if self._penalties[own]]
        return f"modes.{costly[0]}.length_penalty, or learning_rate" if costly else "learning_rate, or raise beta"

    def _begins(self, condition: str, holds: bool, patience: int = 1) -> bool:
        return self._watches.setdefault(condition, _Watch(patience, self._config.patience)).begins(holds)

    def _start(self, metric: str, value: float) -> float | None:
        return self._starts.setdefault(metric, _Start(self._config.window)).compare(value)


class _Watch:
    """Tells when a condition begins: after `before` steps in a row with it, and `after` without it since the last."""

    def __init__(self, before: int, after: int) -> None:
        self.before, self.after = before, after
        self.sounding = False
        self.against = 0  # steps in a row that speak against what is taken to be so

    def begins(self, holds: bool) -> bool:
        self.against = self.against + 1 if holds != self.sounding else 0
        if self.against < (self.after if self.sounding else self.before):
            return False
        self.sounding, self.against = holds, 0
        return holds


class _Start:
    """The mean of a metric's first values."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.first: list[float] = []

    def compare(self, value: float) -> float | None:
        """The mean that a value is compared with; None while the value still counts towards it."""
        if len(self.first) < self.window:
            self.first.append(value)
            return None
        return sum(self.first) / self.window


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _other_tasks(verified: float | None) -> str:
    if verified is None:
        return "make the tasks of its domains easier or harder"
    easier = "easier" if verified < 0.5 else "harder"
    return f"make the tasks of its domains {easier} (reward/verifier is {verified:.2f})"


def _count(steps: int) -> str:
    return "1 logged step" if steps == 1 else f"{steps} logged steps"


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"
