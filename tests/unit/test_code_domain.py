"""Programs to write: the demonstration passes its tests, what is near it does not, and problems are many."""

import asyncio
import io
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from polymath.chat.tokens import first_token
from polymath.domains import is_held_out
from polymath.domains.coding import CodeDomain, Form
from polymath.domains.coding.on_numbers import ON_NUMBERS
from polymath.domains.coding.primitives import Step
from polymath.domains.coding.problems import EDGES, PRIMITIVES, Problem, draw_input, draw_inputs, draw_problem
from polymath.domains.task import Task
from polymath.sandbox_config import SandboxConfig
from rewards import OwnVerifier, open_bench
from rewards.gold import check_rewards, gold_completions

FORMS: tuple[Form, ...] = ("function", "program")


def drawn(count: int, seed: int = 0, **settings: Any) -> list[Task]:
    rng = random.Random(seed)
    domain = CodeDomain(**settings)
    return [domain.draw(rng) for _ in range(count)]


def cases_of(task: Task) -> list[dict[str, str]]:
    return json.loads(task.answer)["tests"]


def code_of(task: Task) -> str:
    (message,) = task.demonstration
    before, code, after = message["content"].split("```")
    assert not before and not after and code.startswith("python\n")
    return code.removeprefix("python\n")


def result(code: str, test: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """What our own code gives for a test."""
    names: dict[str, Any] = {}
    if "expression" in test:
        exec(code, names)
        return repr(eval(test["expression"], names))
    monkeypatch.setattr("sys.stdin", io.StringIO(test["stdin"]))
    with redirect_stdout(io.StringIO()) as out:
        exec(code, names)
    return out.getvalue()


@pytest.mark.parametrize("form", FORMS)
def test_demonstrations_give_what_is_expected(form: Form, monkeypatch: pytest.MonkeyPatch) -> None:
    for task in drawn(300, forms=(form,)):
        for test in cases_of(task):
            assert result(code_of(task), test, monkeypatch) == test["expect"], (code_of(task), test)


def test_every_step_computes_what_its_expression_says() -> None:
    rng = random.Random(0)
    numbers = [0, 7, -12, 105]
    inputs = {kind: [*edges, *(draw_input(rng, kind) for _ in range(20))] for kind, edges in EDGES.items()}
    for primitive in PRIMITIVES:
        for step in (Step(primitive, parameter) for parameter in primitive.parameters):
            for value in inputs.get(primitive.takes, numbers):
                before = repr(value)
                assert eval(step.expression, {primitive.takes: value}) == step.apply(value), (step.words, value)
                assert repr(value) == before
    assert len(PRIMITIVES) >= 25


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("count", [2, 6, 20])
def test_tests_differ_from_each_other_and_from_the_example(form: Form, count: int) -> None:
    for task in drawn(100, forms=(form,), num_tests=count):
        tests = cases_of(task)
        asked = [test.get("expression") or test["stdin"][:-1] for test in tests]
        assert len(set(asked)) == len(tests) == count
        assert len({test["expect"] for test in tests}) > 1
        text = task.messages[0]["content"]
        assert not any(f"`{question}`" in text.splitlines()[-1].split(" it prints ")[0] for question in asked)


def test_tests_hold_the_edge_cases() -> None:
    for task in drawn(100, forms=("function",)):
        asked = {test["expression"] for test in cases_of(task)}
        assert "solve([])" in asked or "solve('')" in asked
        if "solve([])" in asked:
            assert "solve([-3, 4, 4, -3, 0, 7])" in asked


def mistakes(problem: Problem) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """Wrong programs near a problem, each with its sort."""
    for sort, others in (("step", problem.shorter()), ("parameter", problem.neighbours())):
        for other in others:
            yield sort, other.solve
    yield "identity", lambda value: value
    for value in EDGES[problem.takes]:
        yield "constant", lambda _, same=value: problem.solve(same)


def test_wrong_programs_fail() -> None:
    rng = random.Random(0)
    told, made = Counter(), Counter()
    for length in (1, 2, 3) * 100:
        problem = draw_problem(rng, length)
        inputs = draw_inputs(rng, problem, 6)[1]
        many = [*EDGES[problem.takes], *(draw_input(rng, problem.takes) for _ in range(100))]
        for sort, wrong in mistakes(problem):
            if any(wrong(value) != problem.solve(value) for value in many):
                made[sort] += 1
                told[sort] += any(wrong(value) != problem.solve(value) for value in inputs)
    shares = {sort: told[sort] / made[sort] for sort in made}
    assert min(made.values()) > 200
    assert shares["identity"] == shares["constant"] == 1.0
    assert shares["step"] >= 0.99 and shares["parameter"] >= 0.95, shares


def test_a_seed_decides_the_tasks() -> None:
    assert drawn(20, 1) == drawn(20, 1) != drawn(20, 2)


def test_training_and_evaluation_share_no_problem() -> None:
    tasks = drawn(1500)
    sides: dict[bool, set[str]] = {True: set(), False: set()}
    keys: dict[str, str] = {}
    for task in tasks:
        sides[is_held_out(task)] |= {task.key, task.messages[0]["content"]}
        assert keys.setdefault(task.messages[0]["content"], task.key) == task.key
    assert sides[True] and sides[False] and not sides[True] & sides[False]


def test_a_key_is_of_the_problem_not_of_its_wording() -> None:
    for seed in range(50):
        (function,), (program,) = (drawn(1, seed, forms=(form,)) for form in FORMS)
        assert function.key == program.key and function.messages != program.messages
    (add,) = (primitive for primitive in ON_NUMBERS if primitive.words == "add {k} to each number")
    assert Problem((Step(add, 3), Step(add, 4))).key == Problem((Step(add, 5), Step(add, 2))).key
    assert Problem((Step(add, 3), Step(add, 4))).key != Problem((Step(add, 3), Step(add, 5))).key


def test_problems_are_many() -> None:
    """Chao's lower bound of the number of kinds, from how many were met once and how many twice."""
    seen = Counter(task.key for task in drawn(3000, num_tests=2))
    met = Counter(seen.values())
    assert len(seen) + met[1] ** 2 / (2 * met[2]) > 20_000


def test_texts_hold_no_token_of_the_chat() -> None:
    for task in drawn(300):
        texts = [
            task.messages[0]["content"],
            task.answer,
            *(task.demonstration[0][k] for k in ("content", "reasoning")),
        ]
        assert all(first_token(text) is None and text.isascii() for text in texts)
        steps = task.demonstration[0]["reasoning"].splitlines()
        assert 1 <= len(steps) <= 3 and all(line.partition(": ")[2] in code_of(task) for line in steps)


@pytest.mark.parametrize("settings", [{"min_steps": 1, "max_steps": 1}, {"min_steps": 4, "max_steps": 6}])
def test_the_number_of_steps_is_as_set(settings: dict[str, int]) -> None:
    for task in drawn(30, **settings):
        steps = len(task.demonstration[0]["reasoning"].splitlines())
        assert settings["min_steps"] <= steps <= settings["max_steps"]


def test_settings_are_checked() -> None:
    with pytest.raises(ValidationError, match="min_steps 3 is above max_steps 2"):
        CodeDomain(min_steps=3, max_steps=2)
    wrong: tuple[dict[str, Any], ...] = (
        {"num_tests": 1},
        {"num_tests": 21},
        {"min_steps": 0},
        {"forms": ()},
        {"forms": ("class",)},
    )
    for settings in wrong:
        with pytest.raises(ValidationError):
            CodeDomain(**settings)


def test_a_log_holds_what_a_policy_wrote_and_no_demonstration(tmp_path: Path) -> None:
    path = tmp_path / "sandbox.jsonl"
    with open_bench(SandboxConfig(require=()), path) as bench:
        check_rewards([OwnVerifier()], {"code": CodeDomain()}, bench, 0)
        assert not path.exists()
        (gold,) = gold_completions("code", CodeDomain(), 1, 0)
        (score,) = asyncio.run(bench.verify([replace(gold, name="3/1")]))
    assert score.value == 1.0
    assert {json.loads(line)["episode"] for line in path.read_text().splitlines()} == {"3/1"}
