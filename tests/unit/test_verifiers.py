"""Evidence for each verifier: full marks for what is right, nothing for what is systematically wrong, 200 times each."""

import asyncio
import json
import random
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from math_verify import parse, verify

from polymath.completion import Completion
from polymath.domains import Domain
from polymath.domains.agent import AgentDomain
from polymath.domains.bfcl import BfclDomain
from polymath.domains.coding import CodeDomain
from polymath.domains.gym import GymDomain
from polymath.domains.instruct import InstructDomain
from polymath.domains.python import PythonDomain
from polymath.domains.task import Task, question, reply
from polymath.sandbox_config import SandboxConfig
from rewards import Score, Workbench
from rewards.gold import GoldError, check_gold, gold_completions
from rewards.math_answer import MathAnswer, final_answer

COUNT = 200


def said(content: str, answer: str, reward: str = "math_answer") -> Completion:
    turn = {"content": content, "reasoning": "", "tool_calls": [], "faults": []}
    return Completion((turn,), reward, answer)


def judged(bench: Workbench, completions: list[Completion]) -> list[Score]:
    return asyncio.run(bench.verify(completions))


def values(bench: Workbench, completions: list[Completion]) -> list[float]:
    return [score.value for score in judged(bench, completions)]


# ---- math


def written(rng: random.Random) -> Iterator[tuple[str, str, str]]:
    """An answer, the same in other words, and another one: numbers, fractions, roots, terms, sets, intervals."""
    a, b, c = rng.randint(2, 97), rng.randint(2, 97), rng.randint(2, 9)
    yield str(a), f"{a}.0", str(a + c)
    yield str(-a), f"-{a}", str(a)
    yield str(a * 1000), f"{a},000", str(a * 1000 + 1)
    yield f"\\frac{{{a}}}{{{b}}}", f"{a * c}/{b * c}", f"{a}/{b + c}"
    yield f"{a}.25", f"\\frac{{{a * 4 + 1}}}{{4}}", f"{a}.5"
    yield f"{a}\\sqrt{{{b}}}", f"\\sqrt{{{b}}} \\cdot {a}", f"\\sqrt{{{b}}} + {a}"
    yield f"{a}x+{b}", f"{b} + {a}x", f"{a}x-{b}"
    yield f"x^2-{c * c}", f"(x-{c})(x+{c})", f"(x-{c})^2"
    yield f"\\{{{a}, {a + b}\\}}", f"\\{{{a + b}, {a}\\}}", f"\\{{{a}, {a + b + 1}\\}}"
    yield f"[{a}, {a + b})", f"[{a}, {a + b})", f"({a}, {a + b})"
    yield f"{a}\\pi", f"\\pi {a}", f"{a + 1}\\pi"
    yield f"\\frac{{{c}}}{{10}}", f"{c * 10}\\%", f"{c}\\%"


SAYINGS = (
    "\\boxed{{{}}}",
    "So the answer is $\\boxed{{{}}}$.",
    "First 3, then 17: \\boxed{{{}}}",
    "${}$",
    "It is ${}$.",
)


def math_cases(count: int) -> list[tuple[str, str, str]]:
    """Answer, a right response, a wrong one."""
    rng, cases = random.Random(0), []
    while len(cases) < count:
        for gold, same, other in written(rng):
            saying = rng.choice(SAYINGS)
            cases.append((gold, saying.format(same), saying.format(other)))
    return cases[:count]


def test_right_answers_and_wrong_ones(bench: Workbench) -> None:
    cases = math_cases(COUNT + 52)
    assert values(bench, [said(right, gold) for gold, right, _ in cases]) == [1.0] * len(cases)
    assert values(bench, [said(wrong, gold) for gold, _, wrong in cases]) == [0.0] * len(cases)


def test_math_verify_says_the_same(bench: Workbench) -> None:
    cases = [(gold, text) for gold, *texts in math_cases(300) for text in texts]
    assert len(cases) >= 500
    theirs = [float(verify(parse(f"${gold}$"), parse(text))) for gold, text in cases]
    assert values(bench, [said(text, gold) for gold, text in cases]) == theirs


@pytest.mark.parametrize(
    "several",
    [
        "\\boxed{{{}}} or \\boxed{{7}}", "\\boxed{{7}} \\boxed{{{}}}", "It is {} or 7.", "7, {}", "{}; 7", "not {}",
        "$7$ or ${}$", "The answer isn't {}", "7 = {}", "\\boxed{{{} \\text{{ or }} 7}}", "\\boxed{{7, {}}}", "\\boxed{{{}", "-{}",
    ],
)  # fmt: skip
def test_candidates_are_no_answer(bench: Workbench, several: str) -> None:
    assert values(bench, [said(several.format(n), str(n)) for n in (12, 345)]) == [0.0, 0.0]


def test_a_formula_that_never_ends_is_wrong_in_time() -> None:
    """Among honest ones, which are judged meanwhile."""
    towers = ["$9^{9^{9^{9}}}$", "\\boxed{" + "(" * 500 + "1" + ")" * 500 + "}", "\\boxed{\\int_0^1 x^{x^{x^{x}}} dx}"]
    towers += ["$(1+x)^{99999999}$", "$100000000!$", "\\boxed{10^{10^{10}}}"]
    cases = [said(text, "\\frac{1}{2}") for text in [*towers, *["\\boxed{0.5}"] * 10]]
    with Workbench({"math_answer": MathAnswer(seconds=1.5)}, SandboxConfig()) as impatient:
        started = time.monotonic()
        assert values(impatient, cases) == [0.0] * len(towers) + [1.0] * 10
        assert time.monotonic() - started < 20


def test_the_answer_that_is_meant() -> None:
    assert final_answer("so 3 + 4 = 7, \\boxed{7}") == "\\boxed{7}"
    assert final_answer("\\boxed{\\frac{1}{2}}") == "\\boxed{\\frac{1}{2}}"
    assert final_answer("\\boxed{7} and again \\boxed{7}") == "\\boxed{7}"
    assert [final_answer(text) for text in ("", "seven", "\\boxed{}", "\\boxed{7", "1 2")] == [None] * 5


# ---- domains


DOMAINS: list[Domain] = [CodeDomain(), InstructDomain(max_instructions=3), AgentDomain(), BfclDomain(), GymDomain()]
pytest.importorskip("reasoning_gym")
pytest.importorskip("bfcl_eval")


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda domain: domain.kind)
def test_a_domain_satisfies_its_verifier(bench: Workbench, domain: Domain) -> None:
    gold = gold_completions("d", domain, COUNT, 0)
    assert [score for score in judged(bench, gold) if score.value != 1.0] == []


@pytest.mark.parametrize("domain", [CodeDomain(), AgentDomain()], ids=lambda domain: domain.kind)
def test_the_solution_of_another_task_is_none_of_this(bench: Workbench, domain: Domain) -> None:
    gold = gold_completions("d", domain, COUNT + 60, 1)
    swapped = [replace(one, turns=other.turns) for one, other in zip(gold, gold[1:], strict=False)]
    differ = [own for own, one, other in zip(swapped, gold, gold[1:], strict=False) if one.answer != other.answer]
    assert len(differ) >= COUNT and sum(values(bench, differ)) <= 0.01 * len(differ)  # some tasks share a solution


def test_an_answer_that_stops_short_is_worth_nothing(bench: Workbench) -> None:
    gold = gold_completions("d", AgentDomain(), COUNT, 2)
    assert values(bench, [replace(one, turns=one.turns[:-1]) for one in gold]) == [0.0] * COUNT
    silent = [replace(one, turns=(*one.turns[:-1], {**one.turns[-1], "content": ""})) for one in gold]
    assert values(bench, silent) == [0.0] * COUNT


class Wrong:
    """A domain whose demonstrations are not what its verifier takes for right."""

    reward = "math_answer"

    def draw(self, rng: random.Random) -> Task:
        n = rng.randint(1, 10**6)
        return Task(f"wrong {n}", question(str(n)), (reply(str(n + 1)),), str(n))


def test_nothing_starts_on_a_verifier_that_its_domain_fails(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    domain = PythonDomain(factory="json:loads")
    monkeypatch.setattr(PythonDomain, "_source", lambda self: Wrong())
    with pytest.raises(
        GoldError, match=r"domain 'mine': its verifier math_answer gives its own demonstration 0 in place of 1"
    ):
        check_gold({"mine": domain}, bench, 0)


def test_code_says_which_test_failed_and_how(bench: Workbench) -> None:
    tests = {"tests": [{"expression": "f(1)", "expect": "(1, 'a')"}, {"expression": "f(2)", "expect": "{2: [None]}"}]}
    programs = {
        "def f(n): return (1, 'a') if n == 1 else {2: [None]}": (1.0, ()),
        "def f(n): return [1, 'a'] if n == 1 else {2: [None]}": (0.5, ("test 1: gave [1, 'a']",)),
        "def f(n): return (True, 'a') if n == 1 else {2: [None]}": (0.5, ("test 1: gave (True, 'a')",)),
        "def f(n): return 1 // 0": (0.0, ("test 1: ZeroDivisionError: integer division or modulo by zero",) * 1),
        "def g(n): pass": (0.0, ("test 1: NameError: name 'f' is not defined",)),
        "def f(n:": (0.0, ("test 1: SyntaxError: '(' was never closed (program.py, line 1)",)),
    }
    scores = judged(bench, [said(f"```python\n{code}\n```", json.dumps(tests), "code_tests") for code in programs])
    for score, (passed, faults) in zip(scores, programs.values(), strict=True):
        assert score.parts["passed"] == passed and score.value == float(passed == 1.0)
        assert score.faults[: len(faults)] == faults
    twice = said("```python\na\n```\n```python\nb\n```", json.dumps(tests), "code_tests")
    assert judged(bench, [twice])[0].faults == ("several programs, and no saying which is the answer",)


def test_what_is_printed_is_compared_line_by_line(bench: Workbench) -> None:
    answer = json.dumps({"tests": [{"stdin": "2 3\n", "expect": "5\n"}, {"stdin": "1 1\n", "expect": "2\n"}]})
    programs = [
        "print(sum(map(int, input().split())))",
        "print(5)",
        "print(sum(map(int, input().split())), ' ')",
        "import os; os._exit(0)",
    ]
    parts = [score.parts["passed"] for score in judged(bench, [said(code, answer, "code_tests") for code in programs])]
    assert parts == [1.0, 0.5, 1.0, 0.0]
