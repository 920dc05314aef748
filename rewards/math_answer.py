"""Whether the one number of an answer is the right one."""

import re

from polymath.chat import Reply

NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?!\w)")


def math_answer(reply: Reply, answer: str) -> float:
    """1.0 if the content states exactly one number and it equals `answer`; a list of candidates is worth nothing."""
    numbers = NUMBER.findall(reply.content)
    return float(len(numbers) == 1 and not reply.tool_calls and float(numbers[0]) == float(answer))
