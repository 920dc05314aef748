"""Whether the one number of an answer is the right one."""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

NUMBER = re.compile(r"(?<![\w.-])-?\d+(?:\.\d+)?(?!\w)", re.ASCII)


def math_answer(turns: Sequence[Mapping[str, Any]], answer: str) -> float:
    """1.0 if the one turn states exactly one number and it equals `answer`; a list of candidates is worth nothing.

    Any other digit disqualifies, of whatever script, glued to whatever, and so does a sign apart from its number.
    """
    content = turns[-1]["content"]
    found = NUMBER.search(content)
    if found is None or len(turns) > 1 or turns[-1]["tool_calls"]:
        return 0.0
    before, after = content[: found.start()], content[found.end() :]
    lone = not any(character.isdigit() for character in before + after)
    signed = before.rstrip().endswith(("-", "\u2212", "\u2013"))
    return float(lone and not signed and Decimal(found.group()) == Decimal(answer))
