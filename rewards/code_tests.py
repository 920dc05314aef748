"""Whether a program passes its tests. What is expected never enters the sandbox: results are compared here.

A program cannot patch a comparison that happens elsewhere, and printing, exiting or lying about a test gives no answer.
"""

import ast
import json
import math
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Literal

from pydantic import Field

from polymath.completion import Completion
from rewards.base import Verifier, Workbench
from rewards.sandbox import MIB, Limits, Result, Sandbox
from rewards.sandbox.local import DRIVER
from rewards.score import Score

FENCE = re.compile(r"^[ \t]*(?P<mark>`{3,}|~{3,})[ \t]*(?P<language>[\w+-]*)[^`]*$")
PYTHON = ("python", "python3", "py")
SHOWN = 3  # faults that a score tells
CLOSE = 1e-9  # relative difference at which two floats are the same
LONGEST = 1 << 16  # bytes of one answer, as the driver has it


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
            return Score(0.0, faults=("not exactly one Python program",))
        tests = json.loads(completion.answer)["tests"]
        if not tests:
            raise ValueError(f"the answer of a task of the domain {completion.domain!r} holds no test")
        faults = await run_tests(
            program, tests, bench.sandbox_for(completion), self._limits(len(tests)), self.seconds_per_test
        )
        failed = [f"test {number}: {fault}" for number, fault in enumerate(faults, 1) if fault]
        return Score(float(not failed), {"passed": 1 - len(failed) / len(tests)}, tuple(failed[:SHOWN]))

    def _limits(self, tests: int) -> Limits:
        seconds = self.seconds_per_test * tests + 2
        output = (tests + 1) * (LONGEST + 100)
        memory = self.memory_mib * MIB
        return Limits(seconds, math.ceil(seconds), memory, output_bytes=output)


def extract(content: str) -> str | None:
    """The program of an answer: its one fenced block of Python, or all of it where nothing is fenced.

    Blocks of other languages are not looked at, and one without a language counts where none says that it is Python.
    None where there is no such block, or more than one.
    """
    blocks = list(_blocks(content))
    if not blocks:
        return content
    python = [code for language, code in blocks if language.lower() in PYTHON]
    candidates = python or [code for language, code in blocks if not language]
    return candidates[0] if len(candidates) == 1 else None


def _blocks(content: str) -> Iterator[tuple[str, str]]:
    """Language and text of each fenced block; the last one may lack its end."""
    opened, language, lines = "", "", []
    for line in content.splitlines():
        fence = FENCE.match(line)
        if opened and fence and fence["mark"].startswith(opened) and not fence["language"]:
            yield language, textwrap.dedent("\n".join(lines))
            opened = ""
        elif opened:
            lines.append(line)
        elif fence:
            opened, language, lines = fence["mark"], fence["language"], []
    if opened:
        yield language, textwrap.dedent("\n".join(lines))


async def run_tests(
    program: str, tests: Sequence[Mapping[str, str]], sandbox: Sandbox, limits: Limits, seconds_per_test: float
) -> list[str]:
    """What is wrong, test by test; nothing where a test passes. All of them are one command."""
    asked = [{key: text for key, text in test.items() if key != "expect"} for test in tests]
    given = json.dumps({"tests": asked, "seconds": seconds_per_test})
    files = {"driver.py": DRIVER.read_text(), "program.py": program, "given.json": given}
    result = await sandbox.exec(files, ("python", "driver.py"), "", limits)
    answers = _answers(result, len(tests))
    if answers is None:
        return [_how(result) if result.ended != "exit" else "the answers were tampered with"] * len(tests)
    return [_compared(answers[place], test) if place in answers else _how(result) for place, test in enumerate(tests)]


def _lines(text: str) -> list[str]:
    lines = [line.rstrip(" \t\r") for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _answers(result: Result, count: int) -> dict[int, Any] | None:
    """Place -> what the driver says of it; None where that is not what a driver writes."""
    whole, _, cut_off = result.stdout.rpartition("\n")
    if cut_off and result.ended == "exit":
        return None
    answers: dict[int, Any] = {}
    try:
        for line in whole.split("\n") if whole else ():
            place, answer = json.loads(line)
            if type(place) is not int or place in answers or not 0 <= place < count:
                return None
            answers[place] = answer
    except (ValueError, TypeError, RecursionError):
        return None
    return answers


def _compared(answer: Any, test: Mapping[str, str]) -> str:
    """What is wrong with an answer. The trust boundary: a program may have written anything in the driver's place."""
    if not isinstance(answer, dict) or "value" not in answer:
        told = answer.get("fault") if isinstance(answer, dict) else None
        return _short(str(told or "no answer"))
    try:
        value = answer["value"] if "stdin" in test else decode(answer["value"])
        right = _right(value, test)
        return "" if right else f"gave {_short(repr(value))}"
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return "its answer is no plain value"


def _right(value: Any, test: Mapping[str, str]) -> bool:
    if "stdin" in test:
        return isinstance(value, str) and _lines(value) == _lines(test["expect"])
    return same(value, expected(test["expect"]))


@cache
def expected(text: str) -> Any:
    """The value of a Python literal, `nan` and `inf` among them. Raises `SyntaxError` where it is none."""
    try:
        return float(text) if text.lstrip("-") in ("nan", "inf") else ast.literal_eval(text)
    except ValueError as error:
        raise SyntaxError(f"a test expects {text!r}, which is no Python literal") from error


KINDS: dict[str, Callable[[list[Any]], Any]] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}


def decode(encoded: Any) -> Any:
    """A value as the driver encodes it: JSON, with a name before what JSON lacks; raises `ValueError` on others."""
    if encoded is None or isinstance(encoded, bool | int | float | str):
        return encoded
    kind, content = encoded
    if kind in KINDS:
        return KINDS[kind]([decode(item) for item in content])
    if kind == "dict":
        return {decode(key): decode(item) for key, item in content}
    if kind == "bytes":
        return bytes.fromhex(content)
    if kind == "complex":
        return complex(*content)
    raise ValueError(f"unknown kind of value {kind!r}")


def same(value: Any, wanted: Any) -> bool:
    """Whether two plain values are equal; `True` is not 1, a tuple no list; wanted floats may differ a little."""
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    if isinstance(wanted, int | float) and isinstance(value, int | float):
        return value == wanted or (isinstance(wanted, float) and _close(value, wanted))
    return type(value) is type(wanted) and _same_content(value, wanted)


def _same_content(value: Any, wanted: Any) -> bool:
    """`same` for two values of one type that are no numbers."""
    if isinstance(value, list | tuple):
        return len(value) == len(wanted) and all(same(a, b) for a, b in zip(value, wanted, strict=True))
    if isinstance(value, set | frozenset):
        return len(value) == len(wanted) and all(any(same(a, b) for a in _near(value, b)) for b in wanted)
    if isinstance(value, dict):
        return _keys(value) == _keys(wanted) and all(same(item, wanted[key]) for key, item in value.items())
    return bool(value == wanted)


def _close(value: float, wanted: float) -> bool:
    try:
        return math.isclose(value, wanted, rel_tol=CLOSE, abs_tol=1e-12) or (value != value and wanted != wanted)
    except OverflowError:  # a whole number beyond any float
        return False


def _near(values: set[Any] | frozenset[Any], wanted: Any) -> Iterable[Any]:
    """The members that can be the same as a wanted one: itself where it is there, or any, where floats are compared."""
    return [own for own in values if own == wanted] if wanted in values else values


def _keys(values: dict[Any, Any]) -> set[tuple[bool, Any]]:
    return {(isinstance(key, bool), key) for key in values}


def _how(result: Result) -> str:
    """How a command ended that gave no answer."""
    reasons = {"wall": "no answer in time", "memory": "too much memory", "output": "too much output"}
    if result.ended in reasons:
        return reasons[result.ended]
    last = result.stderr.strip().rpartition("\n")[2]
    return _short(last) if last else f"ended with exit code {result.exit_code} and no answer"


def _short(text: str) -> str:
    """A text for a line of a log: not long, and such that it can be written."""
    text = text.encode(errors="backslashreplace").decode()
    return text if len(text) <= 120 else text[:117] + "..."
