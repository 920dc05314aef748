"""Judging what answers the tasks of another domain, right and wrong ones, where a verifier knows which is which."""

import json
import random
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from polymath.domains.arithmetic import MathDomain
from polymath.domains.task import Task, question, reply
from polymath.domains.writing import WritingDomain
from polymath.judging import Criterion, Rubric, judge_prompt, verdict
from polymath.strict import StrictModel

RIGHT = Rubric(criteria=(Criterion(text="The answer is right."),))


class JudgeDomain(StrictModel):
    """One response to a task of `of`, right in half of the tasks, or several, of which one is right.

    A text is right that meets all of its criteria that can be checked; one that is judged alone meets more of them than
    not, or fewer. A task is held out where its own domain's is.
    """

    reward: ClassVar[str] = "judgment"

    kind: Literal["judge"] = "judge"
    of: Annotated[MathDomain | WritingDomain, Field(discriminator="kind")] = Field(
        default=MathDomain(), description="The domain whose tasks are answered."
    )
    responses: int = Field(default=1, ge=1, le=9, description="How many are shown at a time.")
    rubric: Rubric = Field(default=RIGHT, description="For tasks that have none of their own.")
    noise: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of the demonstrations whose scores are drawn at random: they show how a verdict is written, "
        "and leave it to reinforcement which one. With any, the domain is for `sft` alone.",
    )

    @field_validator("of")
    @classmethod
    def _shows_what_is_right(cls, of: MathDomain | WritingDomain) -> MathDomain | WritingDomain:
        if of.slips:
            raise ValueError("slips would be in what a judge reasons, and not in the labels: leave it out")
        return of

    @field_validator("rubric")
    @classmethod
    def _has_no_answer(cls, rubric: Rubric) -> Rubric:
        if rubric.reference:
            raise ValueError("reference would be the same for every task: leave it out")
        return rubric

    @model_validator(mode="after")
    def _tasks_have_one_rubric(self) -> "JudgeDomain":
        if isinstance(self.of, WritingDomain) and self.changes("rubric"):
            raise ValueError("rubric: each text has its own, which would be judged by: leave it out")
        return self

    def draw(self, rng: random.Random) -> Task:
        """One task with its responses, and what each is worth."""
        own = self.of.judged(self.responses, rng)
        rubric, labels = own.task.rubric or self.rubric, own.labels
        if self.responses > 1:  # as far as the scale can tell them apart, and none as high as the best
            labels = tuple(int(label * rubric.scale) / rubric.scale for label in labels)
        shown = self._shown(own.criteria or labels, rng)
        if self.responses == 1 and not own.criteria:
            shown *= len(rubric.criteria)
        known = {"criteria": own.criteria} if own.criteria else {}
        return Task(
            key=own.task.key,
            messages=question(judge_prompt(rubric, own.task.messages[-1]["content"], own.responses)),
            demonstration=(reply(verdict([round(one * rubric.scale) for one in shown]), "\n".join(own.critiques)),),
            answer=json.dumps({"labels": labels, "rubric": rubric.model_dump()} | known),
        )

    def _shown(self, labels: Sequence[float | None], rng: random.Random) -> list[float]:
        """What the demonstration says, from 0 to 1; of what nobody knows, the most."""
        if self.noise and rng.random() < self.noise:
            return [float(rng.randrange(2)) for _ in labels]
        return [1.0 if label is None else label for label in labels]
