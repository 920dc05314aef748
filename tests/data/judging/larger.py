"""A domain so small that a model learns within seconds to answer it, and to judge answers: the larger of two digits."""

import json
import random

from polymath.domains.task import Task, question, reply
from polymath.judging import Criterion, Rubric, judge_prompt, verdict

RIGHT = Rubric(criteria=(Criterion(text="right"),), scale=1)


class Larger:
    """`3 or 8`, and `8`; of the demonstrations a share of `slips` says the other one."""

    reward = "math_answer"

    def __init__(self, slips: float = 0.0) -> None:
        self.slips = slips

    def draw(self, rng: random.Random) -> Task:
        a, b = sorted(rng.sample(range(10), 2))
        asked = f"{a} or {b}" if rng.randrange(2) else f"{b} or {a}"
        shown = a if rng.random() < self.slips else b
        return Task(f"{a} {b}", question(asked), (reply(str(shown)),), str(b), rubric=RIGHT)


class Verdicts:
    """Right and wrong answers to judge; of the demonstrations a share of `noise` ends with a verdict at random."""

    reward = "judgment"

    def __init__(self, noise: float = 0.0) -> None:
        self.noise = noise

    def draw(self, rng: random.Random) -> Task:
        task = Larger().draw(rng)
        label = rng.randrange(2)
        response = task.key.split()[label]
        shown = rng.randrange(2) if rng.random() < self.noise else label
        return Task(
            task.key,
            question(judge_prompt(RIGHT, task.messages[0]["content"], [response])),
            (reply(verdict([shown])),),
            json.dumps({"labels": [label], "rubric": RIGHT.model_dump()}),
        )
