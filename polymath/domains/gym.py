"""Arithmetic of the reasoning-gym library (extra `gym`)."""

import random
from typing import Any, ClassVar, Literal

from pydantic import Field

from polymath.domains.task import Task, question, reply
from polymath.strict import StrictModel


class GymDomain(StrictModel):
    """reasoning-gym's `chain_sum`: sums and differences of several whole numbers, solved term by term."""

    reward: ClassVar[str] = "math_answer"

    kind: Literal["reasoning_gym"] = "reasoning_gym"
    dataset: Literal["chain_sum"] = "chain_sum"
    min_terms: int = Field(default=2, ge=2)
    max_terms: int = Field(default=4, ge=2)
    min_digits: int = Field(default=1, ge=1)
    max_digits: int = Field(default=2, ge=1)

    def draw(self, rng: random.Random) -> Task:
        """One problem; `1 + 7` and `7 + 1` share a key."""
        problem = _generate(rng.getrandbits(31), self.model_dump(exclude={"kind", "dataset"}))
        expression = problem["metadata"]["expression"]
        return Task(
            key=f"chain_sum {' '.join(sorted(signed_terms(expression)))}",
            messages=question(problem["question"]),
            demonstration=(reply(f"The answer is {problem['answer']}.", add_term_by_term(expression)),),
            answer=problem["answer"],
        )


def _generate(seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    try:
        from reasoning_gym.arithmetic import (  # pyright: ignore[reportMissingImports]  # an extra
            ChainSumConfig,
            ChainSumDataset,
        )
    except ImportError as error:
        raise ImportError("the domain 'reasoning_gym' needs the extra: pip install 'polymath[gym]'") from error
    return ChainSumDataset(ChainSumConfig(seed=seed, size=1, **settings))[0]


def signed_terms(expression: str) -> list[str]:
    """`+57`, `+87`, `-70` for `57 + 87 - 70`."""
    parts = ["+", *expression.split()]
    return [sign + term for sign, term in zip(parts[::2], parts[1::2], strict=True)]


def add_term_by_term(expression: str) -> str:
    """The running total: `57 + 87 = 144, 144 - 70 = 74` for `57 + 87 - 70`."""
    first, *rest = expression.split()
    total, steps = int(first), []
    for sign, term in zip(rest[::2], rest[1::2], strict=True):
        result = total + int(term) if sign == "+" else total - int(term)
        steps.append(f"{total} {sign} {term} = {result}")
        total = result
    return ", ".join(steps)
