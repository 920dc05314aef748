"""Sums of two numbers, with column-wise addition as the reasoning, written out or in short."""

import random
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from polymath.domains.task import Judged, Message, Task, question, reply
from polymath.strict import StrictModel

Style = Literal["columns", "sums"]
Styles = Annotated[tuple[Style, ...], Field(min_length=1)]
DEFAULT: tuple[Style, ...] = ("columns",)
SLIPS = (-10, -1, 1, 10)  # of one column


class MathDomain(StrictModel):
    """`a + b` for whole numbers from `min_operand` to `max_operand`."""

    reward: ClassVar[str] = "math_answer"

    kind: Literal["math"] = "math"
    min_operand: int = Field(default=10, ge=0, description="Smallest number that is added.")
    max_operand: int = Field(default=99, ge=9, description="Largest number that is added.")
    styles: Styles | dict[str, Styles] = Field(
        default=DEFAULT,
        description="How demonstrations reason, drawn for each: `columns` is `7+8=15 4+3+1=8`, `sums` is `15 8`. One "
        "list, or one for each mode, where a mode without a list has `columns`.",
    )

    slips: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of the demonstrations whose answer is a slip of one column away: what is shown is not "
        "perfect, and reinforcement has something to add. With any, the domain is for `sft` alone.",
    )

    @model_validator(mode="after")
    def _some_number_lies_between(self) -> "MathDomain":
        if self.min_operand > self.max_operand:
            raise ValueError(f"min_operand {self.min_operand} is above max_operand {self.max_operand}")
        return self

    def judged(self, count: int, rng: random.Random) -> Judged:
        """So many answers to one sum, of which one is right; a single one is so in half of the cases."""
        task = self.draw(rng)
        shown, right = self.answers(task, max(2, count), rng)
        shown = shown[:count]  # of two answers one is shown alone, the right one or the other
        labels = tuple(float(place == right) for place in range(count))
        return Judged(task, tuple(shown), tuple(self.critique(task, own) for own in shown), labels)

    def answers(self, task: Task, count: int, rng: random.Random) -> tuple[list[str], int]:
        """So many different answers, each a slip away from another one, and which of them is right.

        Any of them could be by what they are: none is a neighbour of all others because it is right.
        """
        right = int(task.answer)
        while True:
            numbers = [0]
            while len(numbers) < count:
                other = rng.choice(numbers) + rng.choice(SLIPS)
                numbers += [other] if other not in numbers else []
            place = rng.randrange(count)
            rng.shuffle(numbers)
            answers = [right + own - numbers[place] for own in numbers]
            if min(answers) >= 0:
                return list(map(str, answers)), place

    def critique(self, task: Task, response: str) -> str:
        """How a judge of a response reasons: it adds as the demonstration does, and compares."""
        right = task.demonstration[-1]
        return f"{right['reasoning']} {compare_by_column(right['content'], response)}"

    def draw(self, rng: random.Random) -> Task:
        """One sum; `3 + 4` and `4 + 3` share a key."""
        a, b = (rng.randint(self.min_operand, self.max_operand) for _ in range(2))

        def shown(styles: Sequence[Style]) -> tuple[Message, ...]:
            slip = rng.choice(SLIPS) if self.slips and rng.random() < self.slips else 0
            return (reply(str(abs(a + b + slip)), add_by_column(a, b, rng.choice(styles))),)

        by_mode = self.styles if isinstance(self.styles, dict) else {}
        return Task(
            key="math {} {}".format(*sorted((a, b))),
            messages=question(f"{a} + {b}"),
            demonstration=shown(DEFAULT if isinstance(self.styles, dict) else self.styles),
            answer=str(a + b),
            demonstrations={mode: shown(styles) for mode, styles in by_mode.items()},
        )


def compare_by_column(number: str, other: str) -> str:
    """Digit by digit from right to left, and whether they are the same: `88y 12n` for 18 and 28."""
    width = max(len(number), len(other))
    pairs = zip(reversed(number.rjust(width, "0")), reversed(other.rjust(width, "0")), strict=True)
    return " ".join(f"{a}{b}{'y' if a == b else 'n'}" for a, b in pairs)


def add_by_column(a: int, b: int, style: Style = "columns") -> str:
    """The columns from right to left, each with its carry: `7+8=15 4+3+1=8` for 47 + 38, or their sums alone."""
    steps, carry = [], 0
    while a or b or not steps:
        digits = [a % 10, b % 10] + ([carry] if carry else [])
        steps.append(f"{'+'.join(map(str, digits))}={sum(digits)}" if style == "columns" else str(sum(digits)))
        a, b, carry = a // 10, b // 10, sum(digits) // 10
    return " ".join(steps)
