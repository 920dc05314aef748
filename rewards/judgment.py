"""Whether a judge's verdict is the label's: that of a verifier, or of a person."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from polymath.completion import Completion
from polymath.judging import Rubric, read_verdict, share
from polymath.strict import StrictModel
from rewards.base import Verifier, Workbench
from rewards.score import Score


class Labelled(StrictModel):
    """What a judging task's `answer` holds as JSON: what each response is worth, from 0 to 1, and its rubric."""

    labels: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(min_length=1)
    rubric: Rubric


class Judgment(Verifier):
    """What a verdict is worth beside the labels, which are from 0 to 1 as scores are of their scale.

    A verdict that cannot be read is worth the least.
    """

    name: Literal["judgment"] = "judgment"
    form: Literal["agreement", "best", "distance"] = Field(
        default="agreement",
        description="`agreement`: 1 where the label's side of the scale is met, or the best response has the highest "
        "score. `best`: the same as 1 and -1 (DeepSeek-GRM). `distance`: 1 - |s' - s|, a mean over responses "
        "(DeepSeekMath-V2).",
    )

    async def _applied(self, completion: Completion, bench: Workbench) -> Score | None:
        if completion.reward == self.name and completion.faults:
            return Score(self._least(), {"agrees": 0.0}, completion.faults)
        return await super()._applied(completion, bench)

    def _least(self) -> float:
        return -1.0 if self.form == "best" else 0.0

    def verify(self, completion: Completion, bench: Workbench) -> Score:
        task = Labelled.model_validate_json(completion.answer)
        labels, rubric = task.labels, task.rubric
        count = len(labels) if len(labels) > 1 else len(rubric.criteria)
        try:
            scores = read_verdict(completion.content, count, rubric.scale)
        except ValueError as error:
            return Score(self._least(), {"agrees": 0.0}, (str(error),))
        given = [share(scores, rubric)] if len(labels) == 1 else [own / rubric.scale for own in scores]
        agrees = agree(given, labels)
        if self.form == "distance":
            value = 1 - sum(abs(a - b) for a, b in zip(given, labels, strict=True)) / len(labels)
        else:
            value = 1.0 if agrees else self._least()
        return Score(value, {"agrees": float(agrees)}, () if agrees else ("another verdict",))


def agree(given: Sequence[float], labels: Sequence[float]) -> bool:
    """Whether one score is on its label's side of the middle, or the best of several above all others."""
    if len(labels) == 1:
        return (given[0] > 0.5) == (labels[0] > 0.5) and (given[0] < 0.5) == (labels[0] < 0.5)
    best = [own for own, label in zip(given, labels, strict=True) if label == max(labels)]
    others = [own for own, label in zip(given, labels, strict=True) if label < max(labels)]
    return not others or min(best) > max(others)
