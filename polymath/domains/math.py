"""Sums of two numbers, with column-wise addition as the reasoning."""

import random
from typing import ClassVar, Literal

from pydantic import Field

from polymath.chat import Reply
from polymath.domains.task import Task
from polymath.strict import StrictModel


class MathDomain(StrictModel):
    """`a + b` for whole numbers up to `max_operand`."""

    reward: ClassVar[str] = "math_answer"

    kind: Literal["math"] = "math"
    max_operand: int = Field(default=99, ge=9, description="Largest number that is added.")

    def draw(self, rng: random.Random) -> Task:
        """One sum; `3 + 4` and `4 + 3` share a key."""
        a, b = rng.randint(0, self.max_operand), rng.randint(0, self.max_operand)
        return Task(
            key="math {} {}".format(*sorted((a, b))),
            question=f"{a} + {b}",
            demonstration=Reply(content=str(a + b), reasoning=add_by_column(a, b)),
            answer=str(a + b),
        )


def add_by_column(a: int, b: int) -> str:
    """The columns from right to left, each with its carry: `7+8=15 4+3+1=8` for 47 + 38."""
    steps, carry = [], 0
    while a or b or carry or not steps:
        digits = [a % 10, b % 10] + ([carry] if carry else [])
        total = sum(digits)
        if a or b or not steps:
            steps.append(f"{'+'.join(map(str, digits))}={total}")
        a, b, carry = a // 10, b // 10, total // 10
    return " ".join(steps)
