"""Tasks of another domain whose answer is followed by what the model itself thinks of it."""

import json
import random
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from polymath.domains.arithmetic import MathDomain
from polymath.domains.coding import CodeDomain
from polymath.domains.gym import GymDomain
from polymath.domains.instruct import InstructDomain
from polymath.domains.task import Message, Task
from polymath.judging import verdict
from polymath.strict import StrictModel

# What is answered in one message
Answered = Annotated[MathDomain | CodeDomain | InstructDomain | GymDomain, Field(discriminator="kind")]


class AssessedDomain(StrictModel):
    """Self-verification (DeepSeekMath-V2, arXiv 2511.22570): the answer, and how good it is, by a score of its own.

    Demonstrations are right, and say so: whoever sees no other score has none to explore, hence `noise`.
    """

    reward: ClassVar[str] = "assessed"

    kind: Literal["assessed"] = "assessed"
    of: Answered = Field(default=MathDomain(), description="The domain whose tasks are answered.")
    scale: int = Field(default=10, ge=1, le=1000, description="The highest score; the lowest is 0.")
    noise: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of the demonstrations whose score is drawn at random: they show how one is written, and "
        "leave it to reinforcement which. With any, the domain is for `sft` alone.",
    )

    @model_validator(mode="after")
    def _no_slip_says_that_it_is_right(self) -> "AssessedDomain":
        if isinstance(self.of, MathDomain) and self.of.slips and self.noise < 1:
            raise ValueError("of.slips: demonstrations that slip would say that they are right; set noise to 1")
        return self

    def draw(self, rng: random.Random) -> Task:
        """A task of `of`, held out where that is."""
        task = self.of.draw(rng)
        *before, last = task.messages
        asked = f'Then judge your answer from 0 to {self.scale}, and end with one line: "{verdict([0])}", or higher.'
        return replace(
            task,
            messages=(*before, {**last, "content": f"{last['content']}\n\n{asked}"}),
            demonstration=self._assessed(task.demonstration, rng),
            demonstrations={mode: self._assessed(own, rng) for mode, own in task.demonstrations.items()},
            answer=json.dumps({"reward": self.of.reward, "answer": task.answer, "scale": self.scale}),
        )

    def _assessed(self, shown: tuple[Message, ...], rng: random.Random) -> tuple[Message, ...]:
        *before, last = shown
        score = rng.randint(0, self.scale) if self.noise and rng.random() < self.noise else self.scale
        return (*before, {**last, "content": f"{last['content']}\n{verdict([score])}"})
