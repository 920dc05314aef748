"""Whether a judge's verdict is the label's: that of a verifier, or of a person."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from polymath.completion import Completion
from polymath.judging import Rubric, by_weight, read_verdict, share
from polymath.strict import StrictModel
from rewards.base import Verifier, Workbench
from rewards.score import Score

Label = Annotated[float, Field(ge=0, le=1)]


class Labelled(StrictModel):
    """What a judging task's `answer` holds as JSON: what each response is worth, from 0 to 1, and its rubric.

    Of a single response it may be known by criterion: `criteria` has a label for each, or None where nobody knows,
    as of a style that no verifier checks. A verdict is held beside these alone then, whatever it says of the others.
    """

    labels: tuple[Label, ...] = Field(min_length=1)
    rubric: Rubric
    criteria: tuple[Label | None, ...] = ()

    @model_validator(mode="after")
    def _criteria_are_the_rubrics(self) -> "Labelled":
        if self.criteria and (len(self.labels) > 1 or len(self.criteria) != len(self.rubric.criteria)):
            raise ValueError("criteria has a label for each criterion of a single response")
        if self.criteria and all(own is None for own in self.criteria):
            raise ValueError("criteria knows of none: leave it out")
        return self

    def worth(self) -> Sequence[float]:
        """What each response is worth, from 0 to 1; where that is known by criterion, by the rubric's weights."""
        return [by_weight(self.criteria, self.rubric)] if self.criteria else self.labels

    def given(self, scores: Sequence[int]) -> list[float]:
        """What a verdict's scores say of each response, from 0 to 1."""
        if len(self.labels) == 1:
            return [share(scores, self.rubric, self.criteria)]
        return [own / self.rubric.scale for own in scores]

    def sides(self, scores: Sequence[int]) -> float | None:
        """The share of the criteria that are known which are scored on their label's side of the scale."""
        known = [
            agree([score / self.rubric.scale], [label])
            for score, label in zip(scores, self.criteria, strict=False)
            if label is not None
        ]
        return sum(known) / len(known) if known else None

    def distance(self, scores: Sequence[int]) -> float:
        """How far the scores are from the labels, from 0 to 1: a mean over responses, or by weight over criteria."""
        if not self.criteria:
            return sum(abs(a - b) for a, b in zip(self.given(scores), self.labels, strict=True)) / len(self.labels)
        apart = [
            None if label is None else abs(score / self.rubric.scale - label)
            for score, label in zip(scores, self.criteria, strict=True)
        ]
        return by_weight(apart, self.rubric)


class Judgment(Verifier):
    """What a verdict is worth beside the labels, which are from 0 to 1 as scores are of their scale.

    A verdict that cannot be read is worth the least. `agrees` is a part, and `criteria`, the share of the criteria that
    are known which it is right about.
    """

    name: Literal["judgment"] = "judgment"
    form: Literal["agreement", "best", "distance"] = Field(
        default="agreement",
        description="`agreement`: 1 where the label's side of the scale is met, or the best response has the highest "
        "score. `best`: the same as 1 and -1 (DeepSeek-GRM). `distance`: 1 - |s' - s|, a mean over responses, or over "
        "the criteria of which it is known whether they are met (DeepSeekMath-V2).",
    )

    async def _applied(self, completion: Completion, bench: Workbench) -> Score | None:
        if completion.reward == self.name and completion.faults:
            return Score(self._least(), {"agrees": 0.0}, completion.faults)
        return await super()._applied(completion, bench)

    def _least(self) -> float:
        return -1.0 if self.form == "best" else 0.0

    def verify(self, completion: Completion, bench: Workbench) -> Score:
        task = Labelled.model_validate_json(completion.answer)
        several = len(task.labels) if len(task.labels) > 1 else 0
        try:
            scores = read_verdict(completion.content, several or len(task.rubric.criteria), task.rubric.scale)
        except ValueError as error:
            return Score(self._least(), {"agrees": 0.0}, (str(error),))
        agrees = agree(task.given(scores), task.worth())
        value = 1 - task.distance(scores) if self.form == "distance" else 1.0 if agrees else self._least()
        parts = {"agrees": float(agrees)} | ({} if (sides := task.sides(scores)) is None else {"criteria": sides})
        return Score(value, parts, () if agrees else ("another verdict",))


def agree(given: Sequence[float], labels: Sequence[float]) -> bool:
    """Whether one score is on its label's side of the middle, or the best of several above all others."""
    if len(labels) == 1:
        return (given[0] > 0.5) == (labels[0] > 0.5) and (given[0] < 0.5) == (labels[0] < 0.5)
    best = [own for own, label in zip(given, labels, strict=True) if label == max(labels)]
    others = [own for own, label in zip(given, labels, strict=True) if label < max(labels)]
    return not others or min(best) > max(others)
