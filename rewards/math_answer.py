"""Whether the one final answer of a solution is the right one, by the math-verify library.

Math-verify decides what is equal (1/2 and 0.5, sets in any order); here is decided what the one answer is. It takes any
of several candidates of a text, or the last, so a model that lists them would be paid for guessing.
"""

import re
from decimal import Decimal
from typing import Literal

from pydantic import Field

from polymath.completion import Completion
from rewards.base import Verifier, Workbench
from rewards.score import Score
from rewards.statement import DASHES, introduces, is_certain

INTEGER = re.compile(r"-?\d{1,1000}", re.ASCII)
# A number as people write it, at the end of a text: 1,234.5 or 3/4 or 50%, no part of a word
NUMBER = re.compile(
    r"(?<![\w.,/^)!-])-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+(?:\.\d+)?)?(?:\\?%)?(?=[ \n*.$]*$)", re.ASCII
)
FORMULA = re.compile(
    r"(?:\$\$([^$]+)\$\$|\$([^$]+)\$|\\\(((?:(?!\\\)).)+)\\\)|\\\[((?:(?!\\\]).)+)\\\])(?=[ \n*.!]*$)", re.DOTALL
)
BOX = re.compile(r"\\(?:boxed|fbox|framebox)(?![A-Za-z])\s*(\{)?")
# What makes several answers of one, or a bound; allowed where the row's own answer has it
SEVERAL = re.compile(
    r"\\(?:lor|vee|cup|to|implies|Rightarrow|rightarrow|iff|approx|neq?|pm|mp|b?x?cancel|sout|b?mod|pmod|equiv|sim|leq?|geq?|lt|"
    r"gt|quad|qquad|\\)(?![A-Za-z])|[<>|;]|\b(?:or|and|to|million|thousand|hundred|billion|dozen|percent|squared|cubed)\b"
)
NAMED = re.compile(r"\s*[A-Za-z](?:_\w|_\{\w+\}|\([a-z]\))?\s*=(?P<value>[^=]+)")  # x = 5, f(x) = 5
PERCENT = re.compile(r"\s*(?P<value>-?[\d.,]+)\s*\\?%\s*")
BRACKETS = {"(": ")", "[": ")]", "{": "}"}
LONGEST = 2000  # characters of one answer
MEMORY = 2 << 30  # bytes that one process of math-verify may take
WAITS = 20  # times its CPU time that an answer may take where others want the same cores


class MathAnswer(Verifier):
    """1.0 if the one turn states exactly one answer and it equals the row's, a number or LaTeX."""

    name: Literal["math_answer"] = "math_answer"
    seconds: float = Field(default=3.0, gt=0, description="CPU time for one answer; one that takes longer is wrong.")

    async def verify(self, completion: Completion, bench: Workbench) -> Score:
        if len(completion.turns) != 1 or completion.turns[0]["tool_calls"]:
            return Score(0.0, faults=("calls where an answer is asked for",))
        stated = final_answer(completion.content, completion.answer)
        if stated is None:
            return Score(0.0, faults=("not exactly one answer",))
        return Score(float(await self._equal(completion.answer, stated, bench)))

    async def _equal(self, gold: str, stated: str, bench: Workbench) -> bool:
        if INTEGER.fullmatch(gold) and INTEGER.fullmatch(stated):
            return Decimal(gold) == Decimal(stated)
        from asyncio import wrap_future
        from concurrent.futures import TimeoutError

        from pebble import ProcessExpired

        try:
            task = bench.processes.schedule(equal, (gold, stated, self.seconds), timeout=WAITS * self.seconds)
            return await wrap_future(task)
        except (TimeoutError, MemoryError, RecursionError, ProcessExpired):  # what the formula did to its process
            return False


def final_answer(content: str, gold: str = "") -> str | None:
    """The one answer of a text, as math-verify reads it: its box, or the formula or number that it ends with.

    None where there are more, or none: several boxes, words that hedge, a formula that says several things at once
    (`5 \\lor 6`, `x > 5`) which the row's own answer, `gold`, does not say. Before a box any working may stand.
    """
    content = content.strip().translate(DASHES)
    if BOX.search(content):
        return _boxed(content, gold)
    tail = content[-LONGEST:]
    whole = re.fullmatch(r"(?P<before>.*?)(?P<answer>[(\[{][^A-Za-z]+[)\]}])[.! ]*", tail, re.DOTALL)
    if whole and whole["answer"][-1] in BRACKETS[whole["answer"][0]] and introduces(whole["before"]):
        return f"${whole['answer']}$" if len(content) <= LONGEST else None
    found = FORMULA.search(tail) or NUMBER.search(tail)
    if found is None or len(content) > LONGEST or not introduces(tail[: found.start()]):
        return None
    inner = next(filter(None, found.groups()), None) if found.re is FORMULA else found.group()
    told = None if inner is None else _single(inner, gold)
    return told if told is None or found.re is NUMBER else f"${told}$"


def _boxed(content: str, gold: str) -> str | None:
    """The content of the one box; what follows it may name no other answer."""
    boxes, end = [], 0
    for mark in BOX.finditer(content):
        if mark.start() < end:  # within the box before
            continue
        closing = _closing(content, mark.end()) if mark.group(1) else None
        if closing is None:
            return None
        boxes.append(content[mark.end() : closing].strip())
        end = closing + 1
    inner = boxes[0]
    if (nested := BOX.match(inner)) and nested.group(1) and inner.endswith("}"):
        inner = inner[nested.end() : -1].strip()
    if len(set(boxes)) > 1 or not inner or BOX.search(inner) or not is_certain(content[end:]):
        return None
    told = _single(inner, gold)
    return None if told is None else f"\\boxed{{{told}}}"


def _closing(content: str, start: int) -> int | None:
    """Where the brace closes that was opened before `start`."""
    depth = 1
    for place in range(start, min(len(content), start + LONGEST)):
        depth += {"{": 1, "}": -1}.get(content[place], 0)
        if not depth:
            return place
    return None


def _single(text: str, gold: str) -> str | None:
    """A formula without the name that it is given (`x = 5`), as long as it says one thing; percent as its fraction."""
    if any(sign.group() not in gold for sign in SEVERAL.finditer(text)):
        return None
    if "=" in text and "=" not in gold:
        named = NAMED.fullmatch(text)
        if named is None:
            return None
        text = named["value"]
    if "%" in text and "%" not in gold:
        percent = PERCENT.fullmatch(text)
        return f"\\frac{{{percent['value']}}}{{100}}" if percent else None
    return text


def prepare() -> None:
    """Once in each process: the import, which takes a second, and a bound on memory."""
    import logging
    import resource

    import math_verify

    logging.getLogger(math_verify.__name__).setLevel(logging.ERROR)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


def equal(gold: str, stated: str, seconds: float) -> bool:
    """Whether math-verify takes two answers for the same; runs in a process that a formula may bring down.

    A signal ends that process after so much CPU time.
    """
    import signal

    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        return _equal(gold, stated)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _equal(gold: str, stated: str) -> bool:
    from math_verify import parse, verify

    known = parse(gold if "$" in gold or "\\boxed" in gold else f"${gold}$", parsing_timeout=0)
    return bool(verify(known, parse(stated, parsing_timeout=0), timeout_seconds=0))
