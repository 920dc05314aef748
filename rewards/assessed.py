"""An answer that is followed by the model's own assessment of it, a score in the last line.

    R = R_format * (answer_weight * R_answer + assessment_weight * (1 - |s' - s|))

with s the verifier's score of the answer and s' the stated one, both from 0 to 1 (DeepSeekMath-V2, arXiv 2511.22570,
section 2.2, where the weights are 0.76 and 0.24).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from pydantic import Field, model_validator

from polymath.completion import Completion
from polymath.judging import read_verdict
from polymath.strict import StrictModel
from rewards.base import RewardConfig, Verifier, Workbench
from rewards.score import Score


class Assessable(StrictModel):
    """What such a row's `answer` holds as JSON: the verifier of the answer alone, what that reads, and the scale."""

    reward: str
    answer: str
    scale: int = Field(ge=1)


class Assessed(Verifier):
    """The verifier's score of the answer alone; 0 where no score of its own follows."""

    name: Literal["assessed"] = "assessed"

    async def verify(self, completion: Completion, bench: Workbench) -> Score:
        row = Assessable.model_validate_json(completion.answer)
        answer, _, last = completion.content.rstrip("\n").rpartition("\n")
        if not answer.strip():
            return Score(0.0, faults=("no answer",))
        try:
            (stated,) = read_verdict(last, 1, row.scale)
        except ValueError as error:
            return Score(0.0, faults=(f"its own score: {error}",))
        turns = (*completion.turns[:-1], {**completion.turns[-1], "content": answer})
        (inner,) = await bench.verify([replace(completion, turns=turns, reward=row.reward, answer=row.answer)])
        worth, stated = min(max(inner.value, 0.0), 1.0), stated / row.scale
        side = "worth_if_sure" if stated > 0.5 else "worth_if_unsure"
        parts = {"stated": stated, "assessment": 1 - abs(stated - worth), side: worth}
        return Score(worth, parts, inner.faults)


class SelfVerification(RewardConfig):
    """R for the rows of a domain of kind `assessed`."""

    name: Literal["self_verification"] = "self_verification"
    answer_weight: float = Field(default=0.76, ge=0)
    assessment_weight: float = Field(default=0.24, ge=0)

    @model_validator(mode="after")
    def _something_counts(self) -> "SelfVerification":
        if not self.answer_weight + self.assessment_weight:
            raise ValueError("answer_weight and assessment_weight are both 0, so that nothing counts: raise one")
        return self

    async def __call__(self, completions: Sequence[Completion], bench: Workbench) -> list[Score | None]:
        return [self._weighed(score) for score in await Assessed()(completions, bench)]

    def _weighed(self, score: Score | None) -> Score | None:
        if score is None or "stated" not in score.parts:
            return score
        own = self.answer_weight * score.value + self.assessment_weight * score.parts["assessment"]
        return Score(own, {"answer": score.value, **score.parts}, score.faults)
