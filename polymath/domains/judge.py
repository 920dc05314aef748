"""Judging what answers the tasks of another domain, right and wrong ones, where a verifier knows which is which."""

import json
import random
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from polymath.domains.arithmetic import MathDomain
from polymath.domains.task import Task, question, reply
from polymath.judging import Criterion, Rubric, judge_prompt, verdict
from polymath.strict import StrictModel

RIGHT = Rubric(criteria=(Criterion(text="The answer is right."),))


class JudgeDomain(StrictModel):
    """One response to a task of `of`, right in half of the tasks, or several, of which one is right.

    A task is held out where its own domain's is.
    """

    reward: ClassVar[str] = "judgment"

    kind: Literal["judge"] = "judge"
    of: MathDomain = Field(default=MathDomain(), description="The domain whose tasks are answered.")
    responses: int = Field(default=1, ge=1, le=9, description="How many are shown at a time.")
    rubric: Rubric = RIGHT
    noise: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of the demonstrations whose scores are drawn at random: they show how a verdict is written, "
        "and leave it to reinforcement which one. With any, the domain is for `sft` alone.",
    )

    @field_validator("of")
    @classmethod
    def _shows_what_is_right(cls, of: MathDomain) -> MathDomain:
        if of.slips:
            raise ValueError("slips would be in what a judge reasons, and not in the labels: leave it out")
        return of

    @field_validator("rubric")
    @classmethod
    def _has_no_answer(cls, rubric: Rubric) -> Rubric:
        if rubric.reference:
            raise ValueError("reference would be the same for every task: leave it out")
        return rubric

    def draw(self, rng: random.Random) -> Task:
        """One task with its responses; the label of a right one is 1."""
        task = self.of.draw(rng)
        shown, right = self.of.answers(task, max(2, self.responses), rng)
        shown = shown[: self.responses]  # of two answers one is shown alone, the right one or the other
        labels = [float(place == right) for place in range(self.responses)]
        critiques = [self.of.critique(task, own) for own in shown]
        own = [float(rng.randrange(2)) for _ in labels] if self.noise and rng.random() < self.noise else labels
        scores = [round(score * self.rubric.scale) for score in own]
        if self.responses == 1:
            scores *= len(self.rubric.criteria)
        return Task(
            key=task.key,
            messages=question(judge_prompt(self.rubric, task.messages[-1]["content"], shown)),
            demonstration=(reply(verdict(scores), "\n".join(critiques)),),
            answer=json.dumps({"labels": labels, "rubric": self.rubric.model_dump()}),
        )
