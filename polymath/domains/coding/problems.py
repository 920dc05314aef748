"""Problems: steps one after the other, and the inputs that tell a problem from what it could be mistaken for."""

import hashlib
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from polymath.domains.coding.on_numbers import ON_NUMBERS
from polymath.domains.coding.on_texts import ON_TEXTS
from polymath.domains.coding.primitives import Kind, Primitive, Step

PRIMITIVES = (*ON_NUMBERS, *ON_TEXTS)
WORDS = (
    "apple Banana cat dog Eve forest green House ice Jar kite lemon moon night Oslo paper quiet river "
    "Stone tree under violet Winter yes zoo a to 7 42"
)
EDGES: dict[Kind, tuple[Any, ...]] = {
    "numbers": ([], [-3, 4, 4, -3, 0, 7], [5], [2, 2, 2], [-8, -1], [9, 6, 3, 1, -2]),
    "text": ("", "Tree tree to Oslo tree", "a", "AEIOU", "42", "see see"),
}
PROBES = 40  # inputs by which problems are told apart
POOL = 24  # inputs from which tests are chosen
MANY = 0.8  # share of the steps before the last that must give a list or a text, on which most steps work
COMMON = 0.6  # largest share of the probes with one result


@dataclass(frozen=True)
class Problem:
    """A composition of steps."""

    steps: tuple[Step, ...]

    @property
    def takes(self) -> Kind:
        """The kind of its input."""
        return self.steps[0].primitive.takes

    @property
    def gives(self) -> Kind:
        """The kind of its result."""
        return self.steps[-1].primitive.gives

    def solve(self, value: Any) -> Any:
        """The result, by the trusted functions."""
        for step in self.steps:
            value = step.apply(value)
        return value

    @property
    def key(self) -> str:
        """What it computes, whichever steps lead there: a hash of its results for fixed inputs."""
        results = repr([self.solve(value) for value in PROBE_INPUTS[self.takes]])
        return f"code {self.takes} {hashlib.sha256(results.encode()).hexdigest()[:16]}"

    def shorter(self) -> Iterator["Problem"]:
        """The problems with one step left out, where the kinds of the others fit; a single step is never left out."""
        for left_out in range(len(self.steps)):
            steps = (*self.steps[:left_out], *self.steps[left_out + 1 :])
            kinds = [self.takes, *(step.primitive.gives for step in steps)]
            if steps and all(step.primitive.takes == kind for step, kind in zip(steps, kinds, strict=False)):
                yield Problem(steps)

    def neighbours(self) -> Iterator["Problem"]:
        """The problems with the parameter of one step next to its own."""
        for position, step in enumerate(self.steps):
            parameters = list(step.primitive.parameters)
            index = parameters.index(step.parameter)
            for parameter in (*parameters[max(index - 1, 0) : index], *parameters[index + 1 : index + 2]):
                other = replace(step, parameter=parameter)
                yield Problem((*self.steps[:position], other, *self.steps[position + 1 :]))


def draw_problem(rng: random.Random, length: int) -> Problem:
    """A problem of `length` steps of which none can be left out, with results that vary."""
    while True:
        kind: Kind = rng.choice(("numbers", "text"))
        steps: list[Step] = []
        for position in range(1, length + 1):
            goes_on = position < length and rng.random() < MANY
            primitive = rng.choice((GOING_ON if goes_on else ANY)[steps[-1].primitive.gives if steps else kind])
            steps.append(Step(primitive, rng.choice(primitive.parameters)))
        problem = Problem(tuple(steps))
        if is_sound(problem):
            return problem


def is_sound(problem: Problem) -> bool:
    """Whether every step matters, the results vary, and the whole is not just its input."""
    inputs = PROBE_INPUTS[problem.takes]
    results = [problem.solve(value) for value in inputs]
    if results == list(inputs) or Counter(map(repr, results)).most_common(1)[0][1] > COMMON * len(inputs):
        return False
    return all(results != [shorter.solve(value) for value in inputs] for shorter in problem.shorter())


def draw_input(rng: random.Random, kind: Kind) -> Any:
    """A list of integers or a text."""
    if kind == "numbers":
        return [rng.randint(-9, 20) for _ in range(rng.randint(1, 8))]
    return " ".join(rng.choice(WORDS.split()) for _ in range(rng.randint(1, 6)))


def draw_inputs(rng: random.Random, problem: Problem, count: int) -> tuple[Any, list[Any]]:
    """The input of an example and `count` others for tests, all different; the tests have two results at least.

    A third of the tests are edge cases. Of the others, each is the one that tells the problem from most of the mistakes
    that no test before tells: a step left out, a parameter off by one, a constant result.
    """
    while True:
        example, *others = _different([draw_input(rng, problem.takes) for _ in range(POOL + count)])
        edges = [value for value in EDGES[problem.takes] if value != example]
        pool = _different([*edges[count // 3 :], *others])
        chosen = edges[: count // 3]
        chosen = _telling(problem, chosen, [value for value in pool if value not in chosen], count)
        if len({repr(problem.solve(value)) for value in chosen}) > 1 and problem.solve(example):
            rng.shuffle(chosen)
            return example, chosen


def _telling(problem: Problem, chosen: Sequence[Any], pool: Sequence[Any], count: int) -> list[Any]:
    values = [*chosen, *pool]
    right = [problem.solve(value) for value in values]
    mistakes = [[other.solve(value) for value in values] for other in (*problem.shorter(), *problem.neighbours())]
    mistakes += [[result] * len(values) for result in _different(right)]
    if problem.takes == problem.gives:
        mistakes.append(values)
    tells = [{m for m, wrong in enumerate(mistakes) if wrong[i] != right[i]} for i in range(len(values))]
    picked = list(range(len(chosen)))
    left = set(range(len(mistakes))).difference(*(tells[i] for i in picked))
    while len(picked) < count:
        others = [i for i in range(len(values)) if i not in picked]
        if len(picked) == count - 1 and all(right[i] == right[picked[0]] for i in picked):
            others = [i for i in others if right[i] != right[picked[0]]] or others
        best = max(others, key=lambda i: len(tells[i] & left))
        picked.append(best)
        left -= tells[best]
    return [values[i] for i in picked]


def _different(values: list[Any]) -> list[Any]:
    return list({repr(value): value for value in values}.values())


ANY: dict[Kind, list[Primitive]] = {kind: [p for p in PRIMITIVES if p.takes == kind] for kind in get_args(Kind)}
GOING_ON = {kind: [p for p in ANY[kind] if p.gives != "number"] for kind in ANY}
_probing = random.Random(0)
PROBE_INPUTS = {kind: [*EDGES[kind], *(draw_input(_probing, kind) for _ in range(PROBES))] for kind in EDGES}
