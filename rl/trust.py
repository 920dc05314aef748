"""Whether a judge can be trusted: what it says of answers to prompts that no training sees, beside what verifiers say.

Every so many steps the judge is looked at. It judges answers that stay the same for a stage, as many right as wrong
ones (cases), and what the policy answers now to the same prompts (fresh ones):

    agreement         single cases on their label's side of the scale, right and wrong ones alike: 0.5 is chance;
                      of several responses, how often the best one has the highest score: 1 / n is chance
    same_verdict      the commonest score's share of the cases' scores
    position_bias     of cases in both orders: first place less last, over all contents 0
    gap               mean score of fresh answers less their mean verified worth
    silence           share of fresh answers on which no verdict can be read, or which are too long for the judge
    too_long          share of fresh answers that are too long for the judge
    self_preference   by how much fresh answers are scored above their worth, less the same of cases; both judged alone

While one of them is beyond its bound, the judge's votes are no reward. Each domain is looked at for itself, for a judge
may know one and nothing of another. What is remembered follows from the measures alone: after a resume, feed them again
and go on.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pydantic import Field, PositiveInt

from polymath.alarms import Alarm
from polymath.strict import StrictModel
from rewards.judgment import agree

LEAST = 8  # answers of which something can be said
TOO_LONG = (
    "lower judge.max_completion_length or that of the modes, or raise vllm_max_model_length as far as the model goes"
)
Measures = Mapping[str, float]


class TrustConfig(StrictModel):
    """How a judge is looked at, and what it may show."""

    probe_prompts: PositiveInt = Field(default=64, description="Held-out prompts of each domain and mode.")
    probe_steps: PositiveInt = Field(default=10, description="Steps from one look to the next.")
    min_agreement: float = Field(
        default=0.75, ge=0, le=1, description="With the verifiers, on cases; 0.5 is chance, 0 is never."
    )
    max_same_verdict: float = Field(default=0.95, ge=0, le=1, description="Share of the commonest score; 1 is never.")
    max_position_bias: float = Field(
        default=0.2, ge=0, le=1, description="Score of the first place less the last, either way; 1 is never."
    )
    max_gap_growth: float = Field(
        default=0.2,
        ge=0,
        le=2,
        description="How far the gap between the judge's scores and the verifiers' may grow beyond where it was when "
        "the votes became a reward; 2 is never.",
    )
    max_self_preference: float = Field(
        default=0.2, ge=0, le=1, description="Scores of the policy's present answers over equal ones; 1 is never."
    )
    max_silence: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Share of present answers without a verdict that can be read; 1 is never.",
    )


class Judged(NamedTuple):
    """One answer: the judge's score of it, None where that cannot be read, and the verifier's, both from 0 to 1."""

    score: float | None
    label: float
    place: int = 1  # among those that were shown with it
    among: int = 1

    @property
    def is_right(self) -> bool:
        """To the verifier."""
        return self.label > 0.5


Shown = Sequence[Judged]  # answers that were judged together, or one


def measure(cases: Sequence[Shown], fresh: Sequence[Shown], unasked: int = 0) -> dict[str, float]:
    """What a look shows; a measure that needs more than was judged is left out.

    `unasked` are fresh answers that the judge could not be asked about.
    """
    one_by_one = [own for shown in cases for own in shown]
    new = [own for shown in fresh for own in shown]
    found = {
        "agreement": agreement(cases),
        "same_verdict": same_verdict(one_by_one),
        "position_bias": position_bias(one_by_one),
        "gap": gap(new),
        "self_preference": self_preference(new, one_by_one),
        "silence": silence(new, unasked),
        "too_long": too_long(new, unasked),
    }
    return {name: value for name, value in found.items() if value is not None}


def agreement(cases: Sequence[Shown]) -> float | None:
    """How often the judge is on the verifiers' side; a score that cannot be read is on none."""
    if len(cases) < LEAST:
        return None
    if any(len(shown) > 1 for shown in cases):
        return _mean([_agrees(shown) for shown in cases])
    right, wrong = ([_agrees(shown) for shown in cases if shown[0].is_right == side] for side in (True, False))
    return (_mean(right) + _mean(wrong)) / 2 if right and wrong else None


def _agrees(shown: Shown) -> bool:
    scores = [own.score for own in shown if own.score is not None]
    return len(scores) == len(shown) and agree(scores, [own.label for own in shown])


def same_verdict(cases: Sequence[Judged]) -> float | None:
    """The commonest score's share; of as many right as wrong answers, an honest judge gives both."""
    scores = Counter(own.score for own in cases if own.score is not None)
    return max(scores.values()) / scores.total() if scores.total() >= LEAST else None


def position_bias(cases: Sequence[Judged]) -> float | None:
    """Mean score in the first place less that in the last, of answers that were shown in both orders."""
    first = [own.score for own in cases if own.among > 1 and own.place == 1 and own.score is not None]
    last = [own.score for own in cases if own.among > 1 and own.place == own.among and own.score is not None]
    return _mean(first) - _mean(last) if len(first) >= LEAST and len(last) >= LEAST else None


def gap(fresh: Sequence[Judged]) -> float | None:
    """By how much the judge's scores are above the verifiers'."""
    above = _above(fresh)
    return _mean(above) if len(above) >= LEAST else None


def self_preference(fresh: Sequence[Judged], cases: Sequence[Judged]) -> float | None:
    """How much further above their worth present answers are scored than others; None without enough of both."""
    differences = []
    for is_right in (False, True):
        own, other = (
            _above([one for one in group if one.is_right == is_right and one.among == 1]) for group in (fresh, cases)
        )
        if len(own) >= LEAST and len(other) >= LEAST:
            differences.append(_mean(own) - _mean(other))
    return _mean(differences) if differences else None


def silence(fresh: Sequence[Judged], unasked: int) -> float | None:
    """The share on which nothing was said: a policy that gains by silencing the judge learns to."""
    asked = len(fresh) + unasked
    return (unasked + sum(own.score is None for own in fresh)) / asked if asked >= LEAST else None


def too_long(fresh: Sequence[Judged], unasked: int) -> float | None:
    """The share that the judge could not be asked about, where there are such."""
    asked = len(fresh) + unasked
    return unasked / asked if unasked and asked >= LEAST else None


def _above(judged: Sequence[Judged]) -> list[float]:
    return [own.score - own.label for own in judged if own.score is not None]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


class Trust:
    """What the looks of one stage have shown so far of a judge in one domain.

    `of` names the domain where there are several, and `remedy` is for judges that do not learn.
    """

    def __init__(self, config: TrustConfig, remedy: str = "", of: str | None = None) -> None:
        self.config, self.remedy, self.of = config, remedy, of
        self.doubts: dict[str, str] | None = None  # what speaks against the judge, once it was looked at
        self._first_gap: float | None = None  # when the votes became a reward

    def holds(self) -> bool:
        """Whether the judge's votes are a reward."""
        return self.doubts == {}

    def feed(self, step: int, measures: Measures) -> list[Alarm]:
        """Take what a look showed, in the order of steps, and return the alarms that begin with it."""
        seen = list(self._seen(step, measures))
        begun = [own for own in seen if own.name not in (self.doubts or {})]
        self.doubts = {own.name: own.message for own in seen}
        if not seen and self._first_gap is None:
            self._first_gap = measures.get("gap")
        return begun

    def _seen(self, step: int, measures: Measures) -> Iterator[Alarm]:
        own, start = self.config, self._first_gap
        agrees = measures.get("agreement")
        is_crowded = (
            measures.get("too_long", 0.0) > measures.get("silence", 0.0) / 2
        )  # most of the silence is of length
        if own.min_agreement and agrees is None:
            remedy = "see that they have a rubric, make them easier or harder, or raise judge.trust.probe_prompts"
            yield self._alarm("judge_unknown", step, 0.0, own.min_agreement, (
                f"of held-out prompts there are not {LEAST} answers that can be judged, right and wrong ones",
                TOO_LONG if is_crowded else remedy,
            ))  # fmt: skip
        elif own.min_agreement and agrees is not None and agrees < own.min_agreement:
            yield self._alarm("judge_disagrees", step, agrees, own.min_agreement, (
                f"the judge agrees with the verifiers on {agrees:.0%} of held-out answers, under "
                f"{own.min_agreement:.0%}", self.remedy or "raise judge.share, or train longer",
            ))  # fmt: skip
        limits = (
            ("same_verdict", "judge_collapsed", own.max_same_verdict, 1, "of its scores of right and wrong answers are "
             "the same", self.remedy or "raise beta, or lower learning_rate"),
            ("position_bias", "judge_position_bias", own.max_position_bias, 1, "of the scale goes by an answer's place",
             "raise judge.votes, or set judge.responses to 1"),
            ("self_preference", "judge_self_preference", own.max_self_preference, 1, "of the scale goes by whose an "
             "answer is", self.remedy or "take a frozen judge (judge.kind), or raise judge.share"),
            ("silence", "judge_is_silenced", own.max_silence, 1, "of the policy's present answers "
             + ("are too long for the judge" if is_crowded else "have no verdict that can be read"),
             TOO_LONG if is_crowded else "read what silences it (judgments.jsonl), or raise "
             "judge.max_completion_length"),
        )  # fmt: skip
        for measured, name, bound, never, what, remedy in limits:
            value = abs(measures.get(measured, 0.0)) if measured == "position_bias" else measures.get(measured, 0.0)
            if bound < never and value > bound:
                yield self._alarm(name, step, value, bound, (f"{value:.0%} {what}, over {bound:.0%}", remedy))
        growth = measures["gap"] - start if start is not None and "gap" in measures else 0.0
        if own.max_gap_growth < 2 and growth > own.max_gap_growth:
            yield self._alarm("judge_is_hacked", step, growth, own.max_gap_growth, (
                f"the judge's scores of what the policy writes have grown by {growth:.2f} more than the verifiers', "
                f"over {own.max_gap_growth:g} of a scale of 1",
                "read what it likes (report/rollouts.html), and "
                + (self.remedy or "begin again with a higher judge.share, or a verifier beside it"),
            ))  # fmt: skip

    def _alarm(self, name: str, step: int, value: float, bound: float, message: tuple[str, str]) -> Alarm:
        what, remedy = message
        where = f"step {step}, domain {self.of}" if self.of else f"step {step}"
        return Alarm(name, step, self.of, value, bound, f"{where}: {what}: its votes are no reward while so; {remedy}")
