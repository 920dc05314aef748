"""Evidence for each verifier: full marks for what is right, nothing for what is systematically wrong, 200 times each."""

import asyncio
import json
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

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
from polymath.run_dir import append_line, read_lines
from polymath.sandbox_config import SandboxConfig
from rewards import LengthPenalty, OwnVerifier, PythonReward, Score, Workbench
from rewards.assessed import SelfVerification
from rewards.code_tests import CodeTests, same
from rewards.gold import GoldError, check_gold, check_rewards, gold_completions
from rewards.math_answer import WAITS, MathAnswer, final_answer
from rewards.score import RewardError

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
        for gold, equal, other in written(rng):
            saying = rng.choice(SAYINGS)
            cases.append((gold, saying.format(equal), saying.format(other)))
    return cases[:count]


def test_right_answers_and_wrong_ones(bench: Workbench) -> None:
    cases = math_cases(COUNT)
    assert values(bench, [said(right, gold) for gold, right, _ in cases]) == [1.0] * len(cases)
    assert values(bench, [said(wrong, gold) for gold, _, wrong in cases]) == [0.0] * len(cases)


def test_math_verify_says_the_same() -> None:
    """Without its limits, which are of wall time: on a busy machine what takes too long is told as wrong."""
    cases = math_cases(COUNT)
    assert 2 * len(cases) >= 400
    for gold, right, wrong in cases:
        truth, *stated = (parse(text, parsing_timeout=0) for text in (f"${gold}$", right, wrong))
        assert [verify(truth, own, timeout_seconds=None) for own in stated] == [True, False], gold


NOT_ONE: dict[str, list[str]] = {
    "5": [
        "minus 5", "negative 5", "minus $5$", "(minus 5)", "\u20115", "\u2014 5", "\u221a5", "sqrt 5", "log(5)", "f(5)", "5\u03c0", "5 + x", "5!",
        "5 million", "5 squared", "half of 5", "5 percent", "5\u2030", "$5$%", "\\boxed{5\\text{ million}}", "x > 5", "at least 5", "about 5",
        "between four and 5", "\u00b15", "\\boxed{> 5}", "\\boxed{\\neq 5}", "\\boxed{\\approx 5}", "\\boxed{5 \\mod 7}", "\\boxed{5 \\approx 6}",
        "\\boxed{5} and also the answer could be 6", "$5$ or six", "either six or 5", "\\boxed 6 \\boxed{5}", "\\framebox{6} \\boxed{5}",
        "\\boxed{\\cancel{6} 5}", "\\boxed{5\\%}", "\\boxed{6}" + "x" * 2100 + "\\boxed{5}", "The answer is not 5.", "1/5", "$5, 6$", "is 5 5",
        "\\boxed{5} or \\boxed{7}", "\\boxed{7} \\boxed{5}", "It is 5 or 7.", "7, 5", "5; 7", "$7$ or $5$", "The answer isn't 5", "7 = 5",
        "\\boxed{5 \\text{ or } 7}", "\\boxed{7, 5}", "\\boxed{5", "-5",
    ],
    "6": ["\\boxed{5=6}", "\\boxed{5 \\lor 6}", "\\boxed{5 | 6}", "\\boxed{5 \\cup 6}", "\\boxed{x=5=6}"],
    "2": ["\u221a2", "2\u00bd"],
    "(5,6)": ["\\boxed{5\\text{ or }6}"],
}  # fmt: skip
ONE: dict[str, list[str]] = {
    "5": [
        "5", "5.", "The answer is 5.", "\\boxed{5}", "So it is 2+3: \\boxed{5}.", "x = 5", "Answer: 5", "**5**", "The answer is **5**.", "#### 5",
        "$5$", "The answer is $5$.", "\\boxed{x = 5}", "\\boxed{\\boxed{5}}", "$$5$$", "\\[5\\]", "\\(5\\)", "\\boxed{5}. I hope it is correct.",
    ],
    "-3": ["The answer is \u22123.", "-3", "\\boxed{-3}", "\u22123"],
    "0.05": ["\\boxed{5\\%}", "5%"],
    "[0,1)": ["[0,1)", "\\boxed{[0,1)}", "The answer is [0, 1)."],
    "\\frac{3}{4}": ["3/4", "\\boxed{0.75}", "75%"],
    "100000": ["100,000", "\\boxed{10^5}"],
    "x > 5": ["\\boxed{x > 5}"],
    "50\\%": ["50%"],
    "\\{1,2\\}": ["\\boxed{\\{2,1\\}}", "{1, 2}"],
}  # fmt: skip


@pytest.mark.parametrize(("texts", "worth"), [(NOT_ONE, 0.0), (ONE, 1.0)], ids=["not one answer", "one answer"])
def test_one_answer_and_no_other(bench: Workbench, texts: dict[str, list[str]], worth: float) -> None:
    cases = [said(text, gold) for gold, own in texts.items() for text in own]
    wrong = [case.content for case, value in zip(cases, values(bench, cases), strict=True) if value != worth]
    assert wrong == []


def test_a_formula_that_never_ends_is_wrong_in_time() -> None:
    """Among honest ones, which are judged meanwhile."""
    towers = ["$9^{9^{9^{9}}}$", "\\boxed{" + "(" * 500 + "1" + ")" * 500 + "}", "\\boxed{\\int_0^1 x^{x^{x^{x}}} dx}"]
    towers += ["$(1+x)^{99999999}$", "$100000000!$", "\\boxed{10^{10^{10}}}"]
    cases = [said(text, "\\frac{1}{2}") for text in [*towers, *["\\boxed{0.5}"] * 10]]
    with Workbench({"math_answer": MathAnswer(seconds=1.5)}, SandboxConfig()) as impatient:
        started = time.monotonic()
        assert values(impatient, cases) == [0.0] * len(towers) + [1.0] * 10
        assert time.monotonic() - started < len(towers) * WAITS * 1.5  # of a machine that is ever so busy


def test_the_answer_that_is_meant() -> None:
    assert final_answer("so 3 + 4 = 7, \\boxed{7}") == "\\boxed{7}"
    assert final_answer("\\boxed{\\frac{1}{2}}") == "\\boxed{\\frac{1}{2}}"
    assert final_answer("\\boxed{7} and again \\boxed{7}") == "\\boxed{7}"
    assert [final_answer(text) for text in ("", "seven", "\\boxed{}", "\\boxed{7", "1 2")] == [None] * 5


# ---- domains


DOMAINS: list[Domain] = [CodeDomain(), InstructDomain(max_instructions=3), AgentDomain(), BfclDomain()]
DOMAINS += [GymDomain()] if find_spec("reasoning_gym") else []  # an extra that takes minutes to install


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
        GoldError, match=r"domain 'mine': its verifier math_answer gives a demonstration 0 in place of 1"
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
    assert judged(bench, [twice])[0].faults == ("not exactly one Python program",)


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


@pytest.mark.parametrize(
    ("value", "wanted", "equal"),
    [
        (1e10, 10_000_000_001, False), (10_000_000_001.0, 10_000_000_001, True), (0.1 + 0.2, 0.3, True), (2, 2.0, True),
        (2.0, 2, True), (True, 1, False), ({True, 2}, {1, 2}, False), ({True: "a"}, {1: "a"}, False), ({2, 1}, {1, 2}, True),
        ({0.1 + 0.2}, {0.3}, True), ({"a": 1.0}, {"a": 1}, True), ((1, 2), [1, 2], False), (float("nan"), float("nan"), True),
        (1 << 5000, 1.5, False), ("3\xa0", "3", False), ({1}, frozenset({1}), False), ([[1]], [[1]], True), (b"a", "a", False),
    ],
)  # fmt: skip
def test_values_are_the_same_or_not(value: object, wanted: object, equal: bool) -> None:
    assert same(value, wanted) == equal


def test_programs_as_people_write_them(bench: Workbench) -> None:
    """Functions: what they may return; programs: how they may end; answers: how they may be fenced."""
    called = json.dumps({"tests": [{"expression": "f()", "expect": "{'a': 2}"}]})
    returned = [
        "Counter('aa')",
        "defaultdict(int, a=2)",
        "OrderedDict(a=2)",
        "{'a': IntEnum('E', 'x y').y}",
        "{'a': 2.0}",
    ]
    head = "from collections import *\nfrom enum import IntEnum\n"
    functions = [said(f"{head}def f(): return {value}", called, "code_tests") for value in returned]
    printed = json.dumps({"tests": [{"stdin": "3\n", "expect": "3\n"}]})
    endings = [
        "print(input()); exit()", "print(input()); quit(0)", "import sys; print(input()); sys.exit(0)", "import sys; sys.__stdout__.write(input())",
        "import threading; threading.Thread(target=lambda: print(input())).start()", "import atexit; atexit.register(print, input())",
        "if __name__ == '__main__': print(input())", "import sys; print(sys.stdin.read().strip())", "__file__; print(open(0).read())",
    ]  # fmt: skip
    programs = [said(code, printed, "code_tests") for code in endings]
    code = "print(input())"
    fenced = [
        f"```Python\n{code}\n```", f"Run it.\r\n```python\r\n{code}\r\n```\r\n", f"1. So:\n   ```py\n   {code}\n   ```", f"~~~python\n{code}\n~~~",
        f"```python\n{code}", f"```bash\npython x.py\n```\nthen\n```python\n{code}\n```\ngives\n```\n3\n```", f"```\n{code}\n```",
    ]  # fmt: skip
    answers = [said(text, printed, "code_tests") for text in fenced]
    scores = judged(bench, [*functions, *programs, *answers])
    assert [
        (s.faults, c.content) for s, c in zip(scores, [*functions, *programs, *answers], strict=True) if s.value != 1
    ] == []


def test_long_answers_and_endless_ones(bench: Workbench) -> None:
    tests = {"tests": [{"expression": f"f({n})", "expect": repr("x" * 20_000)} for n in range(5)]}
    (score,) = judged(bench, [said("def f(n): return 'x' * 20000", json.dumps(tests), "code_tests")])
    assert score.value == 1.0
    (score,) = judged(
        bench, [said("def f(n):\n    while n: pass\n    return 'x' * 20000", json.dumps(tests), "code_tests")]
    )
    assert score.parts["passed"] == pytest.approx(0.2)
    assert score.faults[:2] == ("test 2: no answer in time", "test 3: not tried after a test without an answer in time")


def test_a_program_cannot_stop_the_run_that_judges_it(bench: Workbench, tmp_path: Path) -> None:
    answer = json.dumps({"tests": [{"expression": "add(2, 3)", "expect": "5"}]})
    forge = "import os\nfor fd in range(3, 64):\n    try: os.write(fd, b'{}\\n')\n    except OSError: pass\ndef add(a, b): return 0"
    programs = [
        "def add(a, b): raise ValueError('\\ud800')", "def add(a, b): return '\\ud800'",
        forge.format('{\"value\": [\"complex\", [1' + "0" * 400 + ", 0]]}"), forge.format('{\"value\": [\"dict\", 3]}'),
        forge.format('{\"value\": ' + "[" * 9000 + "]" * 9000 + "}"), forge.format('[7, {\"value\": 5}]'), "\ud800",
    ]  # fmt: skip
    completions = [said(program, answer, "code_tests") for program in programs]
    with Workbench({"code_tests": CodeTests()}, SandboxConfig(), tmp_path / "log.jsonl") as logged:
        scores = judged(logged, completions)
    assert [score.value for score in scores] == [0.0] * len(programs)
    for score in scores:
        append_line(tmp_path / "rollouts.jsonl", {"faults": score.faults})
    assert len(list(read_lines(tmp_path / "rollouts.jsonl"))) == len(programs)


def test_the_rewards_of_a_stage_are_tried_before_it_starts(bench: Workbench) -> None:
    domains: dict[str, Domain] = {"code": CodeDomain(forms=("function",))}
    check_rewards((OwnVerifier(), CodeTests(), LengthPenalty()), domains, bench, 0)
    with pytest.raises(
        GoldError, match=r"reward 'code_tests', with the settings of this stage, gives a demonstration 0"
    ):
        check_rewards((CodeTests(seconds_per_test=1e-6),), domains, bench, 0)
    with pytest.raises(
        GoldError, match=r"reward 'math_answer' applies to no row of this stage, whose domains have code_tests"
    ):
        check_rewards((MathAnswer(),), domains, bench, 0)
    with pytest.raises(GoldError, match=r"reward 'self_verification' applies to no row of this stage"):
        check_rewards((SelfVerification(),), domains, bench, 0)
    with pytest.raises(RewardError, match=r"reward 'json:dumps' raised TypeError: "):
        check_rewards((PythonReward(name="json:dumps"),), domains, bench, 0)
