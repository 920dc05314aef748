"""Whether a program passes its tests. What is expected never enters the sandbox: results are compared here.

A program cannot patch a comparison that happens elsewhere, and printing, exiting or lying about a test gives no answer.
"""

import ast
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from polymath.completion import Completion
from rewards.base import Verifier, Workbench
from rewards.sandbox import MIB, Limits, Result, Sandbox
from rewards.sandbox.local import DRIVER
from rewards.score import Score

FENCE = re.compile(r"^```[ \t]*(?:python|python3|py)?[ \t]*\n(.*?)^```[ \t]*$", re.DOTALL | re.MULTILINE)
SHOWN = 3  # faults that a score tells
CLOSE = 1e-9  # relative difference at which two floats are the same


class CodeTests(Verifier):
    """1.0 where the one program of an answer passes every test; `parts` holds the share that it passes.

    A row's answer is `{"tests": [...]}`, of `{"expression": "add(2, 3)", "expect": "5"}` (Python literals) or
    `{"stdin": "2 3\\n", "expect": "5\\n"}`; of what is printed, white space at the end of lines is not compared.
    """

    name: Literal["code_tests"] = "code_tests"
    seconds_per_test: float = Field(default=2.0, gt=0, description="Wall time of one test.")
    memory_mib: int = Field(default=512, ge=64, description="Memory of all processes of a program.")

    async def verify(self, completion: Completion, bench: Workbench) -> Score:
        program = extract(completion.content)
        if program is None:
            return Score(0.0, faults=("several programs, and no saying which is the answer",))
        tests = json.loads(completion.answer)["tests"]
        faults = await run_tests(
            program, tests, bench.sandbox_for(completion), self._limits(len(tests)), self.seconds_per_test
        )
        failed = [f"test {number}: {fault}" for number, fault in enumerate(faults, 1) if fault]
        return Score(float(not failed), {"passed": 1 - len(failed) / len(tests)}, tuple(failed[:SHOWN]))

    def _limits(self, tests: int) -> Limits:
        seconds = self.seconds_per_test * tests + 2
        return Limits(wall_seconds=seconds, cpu_seconds=math.ceil(seconds), memory_bytes=self.memory_mib * MIB)


def extract(content: str) -> str | None:
    """The program of an answer: its one fenced block, or all of it where nothing is fenced; None for several."""
    blocks = FENCE.findall(content)
    if len(blocks) == 1:
        return blocks[0]
    return None if blocks or "```" in content else content


async def run_tests(
    program: str, tests: Sequence[Mapping[str, str]], sandbox: Sandbox, limits: Limits, seconds_per_test: float
) -> list[str]:
    """What is wrong, test by test; nothing where a test passes. All of them are one command."""
    asked = [{key: text for key, text in test.items() if key != "expect"} for test in tests]
    given = json.dumps({"tests": asked, "seconds": seconds_per_test})
    files = {"driver.py": DRIVER.read_text(), "program.py": program, "given.json": given}
    result = await sandbox.exec(files, ("python", "driver.py"), "", limits)
    answers = _answers(result.stdout, len(tests))
    if answers is None:
        return [_how(result) if result.ended != "exit" else "the answers were tampered with"] * len(tests)
    return [_compared(answers[place], test) if place in answers else _how(result) for place, test in enumerate(tests)]


def _lines(text: str) -> list[str]:
    lines = [line.rstrip() for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _answers(stdout: str, count: int) -> dict[int, Any] | None:
    """Place -> what the driver says of it; None where that is not what a driver writes."""
    answers: dict[int, Any] = {}
    try:
        for line in stdout.splitlines():
            place, answer = json.loads(line)
            if type(place) is not int or place in answers or not 0 <= place < count:
                return None
            answers[place] = answer
    except (ValueError, TypeError, RecursionError):
        return None
    return answers


def _compared(answer: Any, test: Mapping[str, str]) -> str:
    if not isinstance(answer, dict) or "value" not in answer:
        told = answer.get("fault") if isinstance(answer, dict) else None
        return _short(str(told or "no answer"))
    try:
        value = decode(answer["value"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return "its answer is no plain value"
    if "stdin" in test:
        right = isinstance(value, str) and _lines(value) == _lines(test["expect"])
    else:
        right = same(value, ast.literal_eval(test["expect"]))
    return "" if right else f"gave {_short(repr(value))}"


def decode(encoded: Any) -> Any:
    """A value as the driver encodes it: JSON, with a name before what JSON lacks; raises `ValueError` on others."""
    if encoded is None or isinstance(encoded, bool | int | float | str):
        return encoded
    kind, content = encoded
    match kind:
        case "list" | "tuple" | "set" | "frozenset":
            items = [decode(item) for item in content]
            return {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}[kind](items)
        case "dict":
            return {decode(key): decode(item) for key, item in content}
        case "bytes":
            return bytes.fromhex(content)
        case "complex":
            return complex(*content)
    raise ValueError(f"unknown kind of value {kind!r}")


def same(value: Any, expected: Any) -> bool:
    """Whether two plain values are equal; `True` is not 1, a tuple no list; floats may differ in the last digits."""
    if isinstance(value, bool) or isinstance(expected, bool):
        return value is expected
    if isinstance(value, int | float) and isinstance(expected, int | float):
        return _same_number(value, expected)
    if type(value) is not type(expected):
        return False
    if isinstance(value, list | tuple):
        return len(value) == len(expected) and all(same(a, b) for a, b in zip(value, expected, strict=True))
    if isinstance(value, dict):
        return value.keys() == expected.keys() and all(same(item, expected[key]) for key, item in value.items())
    return bool(value == expected)


def _same_number(value: float, expected: float) -> bool:
    if isinstance(value, int) and isinstance(expected, int):
        return value == expected
    try:
        return math.isclose(value, expected, rel_tol=CLOSE, abs_tol=1e-12) or (value != value and expected != expected)
    except OverflowError:  # a whole number beyond any float
        return False


def _how(result: Result) -> str:
    """How a command ended that gave no answer."""
    reasons = {"wall": "no answer in time", "memory": "too much memory", "output": "too much output"}
    if result.ended in reasons:
        return reasons[result.ended]
    last = result.stderr.strip().rpartition("\n")[2]
    return _short(last) if last else f"ended with exit code {result.exit_code} and no answer"


def _short(text: str) -> str:
    return text if len(text) <= 120 else text[:117] + "..."
