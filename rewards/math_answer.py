"""Whether the one number of an answer is the right one."""

import re
from decimal import Decimal

from polymath.chat import Reply

NUMBER = re.compile(r"(?<![\w.-])-?\d+(?:\.\d+)?(?!\w)", re.ASCII)


def math_answer(reply: Reply, answer: str) -> float:
    """1.0 if the content states exactly one number and it equals `answer`; a list of candidates is worth nothing.

    Any other digit disqualifies, of whatever script, glued to whatever, and so does a sign apart from its number.
    """
    found = NUMBER.search(reply.content)
    if found is None or reply.tool_calls:
        return 0.0
    before, after = reply.content[: found.start()], reply.content[found.end() :]
    lone = not any(character.isdigit() for character in before + after)
    signed = before.rstrip().endswith(("-", "\u2212", "\u2013"))
    return float(lone and not signed and Decimal(found.group()) == Decimal(answer))
