"""Small programs to write: steps on lists and texts in English, verified by tests."""

import json
import random
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from polymath.domains.coding.primitives import Kind
from polymath.domains.coding.problems import Problem, draw_inputs, draw_problem
from polymath.domains.task import Task, question, reply
from polymath.strict import StrictModel

Form = Literal["function", "program"]

ARGUMENTS: dict[Kind, str] = {"numbers": "a list of integers", "text": "a string", "number": "an integer"}
LINES: dict[Kind, str] = {
    "numbers": "integers separated by spaces, of which there may be none",
    "text": "a text, which may be empty",
}
PRINTED: dict[Kind, str] = {
    "numbers": "the numbers of the result on one line, separated by spaces",
    "text": "the resulting text",
    "number": "the resulting number",
}
READ: dict[Kind, str] = {
    "numbers": "numbers = [int(word) for word in input().split()]",
    "text": "text = input()",
}


class CodeDomain(StrictModel):
    """Functions `solve` and programs from stdin to stdout that do `min_steps` to `max_steps` things in turn."""

    reward: ClassVar[str] = "code_tests"

    kind: Literal["code"] = "code"
    forms: tuple[Form, ...] = Field(default=("function", "program"), min_length=1, description="What is to be written.")
    min_steps: int = Field(default=1, ge=1, le=6, description="Fewest steps of a problem.")
    max_steps: int = Field(default=3, ge=1, le=6, description="Most steps of a problem.")
    num_tests: int = Field(default=6, ge=2, le=20, description="Tests that verify a solution.")

    @model_validator(mode="after")
    def _some_number_of_steps_lies_between(self) -> "CodeDomain":
        if self.min_steps > self.max_steps:
            raise ValueError(f"min_steps {self.min_steps} is above max_steps {self.max_steps}")
        return self

    def draw(self, rng: random.Random) -> Task:
        """One problem; all forms, wordings and orders of steps that compute the same share a key."""
        form = rng.choice(self.forms)
        lengths = range(self.min_steps, self.max_steps + 1)
        problem = draw_problem(rng, rng.choices(lengths, weights=lengths)[0])  # of long ones there are more
        example, inputs = draw_inputs(rng, problem, self.num_tests)
        return Task(
            key=problem.key,
            messages=question(ask(rng, form, problem, example)),
            demonstration=(reply(f"```python\n{write(form, problem)}\n```", explain(problem)),),
            answer=json.dumps({"tests": [case(form, problem, value) for value in inputs]}),
        )


def ask(rng: random.Random, form: Form, problem: Problem, example: Any) -> str:
    """The problem in English, with one example."""
    given, wanted = case(form, problem, example).values()
    kind = problem.takes
    if form == "function":
        opening = rng.choice(
            ("Write a Python function", "Implement in Python the function", "I need a Python function")
        )
        task = f"{opening} `solve({kind})`. It is given {ARGUMENTS[kind]} and returns what these steps lead to:"
        shown = f"For example, `{given}` returns `{wanted}`."
    else:
        opening = rng.choice(("Write a Python program", "Implement a Python program", "I need a Python program"))
        task = (
            f"{opening} that reads one line from standard input: {LINES[kind]}. "
            f"It prints {PRINTED[problem.gives]}, after these steps:"
        )
        shown = f"For example, for the line `{given[:-1]}` it prints `{wanted[:-1]}`."
    words = [step.words for step in problem.steps]
    listed = rng.choice((in_a_list, in_a_sentence))(words)
    note = "\nWords are separated by spaces." if any("word" in text for text in words) else ""
    return f"{task}\n{listed}{note}\n{shown}"


def in_a_list(words: list[str]) -> str:
    """A numbered list of the steps."""
    return "\n".join(f"{number}. {_capital(text)}." for number, text in enumerate(words, 1))


def in_a_sentence(words: list[str]) -> str:
    """A sentence for each step."""
    return " ".join(_capital(f"then {text}." if number else f"{text}.") for number, text in enumerate(words))


def write(form: Form, problem: Problem) -> str:
    """The solution, a line for each step."""
    *first, last = [f"{step.primitive.gives} = {step.expression}" for step in problem.steps]
    if form == "function":
        lines = [*first, f"return {problem.steps[-1].expression}"]
        return "\n    ".join([f"def solve({problem.takes}):", *lines])
    star = "*" if problem.gives == "numbers" else ""
    return "\n".join([READ[problem.takes], *first, last, f"print({star}{problem.gives})"])


def explain(problem: Problem) -> str:
    """The thought behind the solution, a line for each step."""
    return "\n".join(f"{_capital(step.words)}: {step.expression}" for step in problem.steps)


def case(form: Form, problem: Problem, value: Any) -> dict[str, str]:
    """What is run for an input, and what it must give."""
    result = problem.solve(value)
    if form == "function":
        return {"expression": f"solve({value!r})", "expect": repr(result)}
    return {"stdin": as_line(value), "expect": as_line(result)}


def as_line(value: Any) -> str:
    """A value as programs read and print it."""
    return " ".join(map(str, value)) + "\n" if isinstance(value, list) else f"{value}\n"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
