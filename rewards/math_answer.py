"""Whether the one final answer of a solution is the right one, by the math-verify library.

Math-verify decides what is equal (1/2 and 0.5, sets in any order); here is decided what the one answer is. It takes any
of several candidates of a text, or the last, so a model that lists them would be paid for guessing.
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Literal

from pydantic import Field

from polymath.completion import Completion
from rewards.base import Verifier, Workbench
from rewards.score import Score

INTEGER = re.compile(r"-?\d{1,1000}", re.ASCII)
# A number as people write it: 1,234.5 or 3/4 or 50%, no part of a word
NUMBER = re.compile(
    r"(?<![\w.,/-])-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/-?\d+(?:\.\d+)?)?(?:\\?%)?(?![\w/])", re.ASCII
)
FORMULA = re.compile(r"\$\$(.+?)\$\$|\$(.+?)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
DENIAL = re.compile(r"\b(?:not|never|no|cannot|neither)\b|n't\b", re.IGNORECASE)
BRACKETS = {"(": ")", "[": "]", "{": "}"}
LONGEST = 2000  # characters of an answer that are looked at
MEMORY = 2 << 30  # bytes that one process of math-verify may take


class MathAnswer(Verifier):
    """1.0 if the one turn states exactly one answer and it equals the row's, a number or LaTeX."""

    name: Literal["math_answer"] = "math_answer"
    seconds: float = Field(default=5.0, gt=0, description="Time for one answer; one that takes longer is wrong.")

    async def verify(self, completion: Completion, bench: Workbench) -> Score:
        if len(completion.turns) != 1 or completion.turns[0]["tool_calls"]:
            return Score(0.0, faults=("calls where an answer is asked for",))
        stated = final_answer(completion.content)
        if stated is None:
            return Score(0.0, faults=("not exactly one answer",))
        return Score(float(await self._equal(completion.answer, stated, bench)))

    async def _equal(self, gold: str, stated: str, bench: Workbench) -> bool:
        if INTEGER.fullmatch(gold) and (number := INTEGER.fullmatch(stated)):
            return Decimal(gold) == Decimal(number.group())
        from asyncio import wrap_future
        from concurrent.futures import TimeoutError

        try:
            return await wrap_future(bench.processes.schedule(equal, (gold, stated), timeout=self.seconds))
        except (TimeoutError, MemoryError, RecursionError):
            return False
        except Exception as error:  # the trust boundary: a process that a formula brought down says so in many ways
            if type(error).__name__ in ("ProcessExpired", "BrokenProcessPool"):
                return False
            raise


def final_answer(content: str) -> str | None:
    """The one answer of a text: its box, formula or number, as math-verify reads it; None where there are more.

    Beside a box, which says what is final, other numbers may stand; beside anything else they may not.
    """
    content = content.strip()[-LONGEST:]
    boxes = list(_boxes(content))
    if boxes:
        return f"\\boxed{{{boxes[0]}}}" if len(set(boxes)) == 1 and boxes[0].strip() else None
    if DENIAL.search(content):
        return None
    formulas = list(FORMULA.finditer(content))
    whole = content.rstrip(".! ")
    if whole[:1] in BRACKETS and whole.endswith(BRACKETS[whole[0]]) and not re.search(r"[A-Za-z]{2}", whole):
        return f"${whole}$"
    found = formulas or list(NUMBER.finditer(content))
    if len(found) != 1:
        return None
    before, after = content[: found[0].start()], content[found[0].end() :]
    if any(character.isdigit() for character in before + after) or before.rstrip().endswith(("-", "\u2212", "\u2013")):
        return None
    return found[0].group()


def _boxes(content: str) -> Iterator[str]:
    """What stands in each `\\boxed{...}`; a box that is never closed holds nothing."""
    for start in re.finditer(r"\\(?:boxed|fbox)\s*\{", content):
        depth = 1
        for place in range(start.end(), len(content)):
            depth += {"{": 1, "}": -1}.get(content[place], 0)
            if not depth:
                yield content[start.end() : place]
                break
        else:
            yield ""


def equal(gold: str, stated: str) -> bool:
    """Whether math-verify takes two answers for the same; runs in a process that a formula may bring down."""
    import logging
    import resource

    from math_verify import parse, verify

    logging.getLogger("math_verify").setLevel(logging.ERROR)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    known = parse(gold if "$" in gold or "\\boxed" in gold else f"${gold}$", parsing_timeout=0)
    return bool(verify(known, parse(stated, parsing_timeout=0), timeout_seconds=0))
