"""Whether a call does what was asked: it is executed and its result compared."""

import json
from typing import Any

from polymath.chat import Reply
from polymath.domains.agent import TOOLS

ARGUMENT_ERRORS = (ValueError, KeyError)  # what a tool raises on arguments that it cannot take


def tool_calls(reply: Reply, answer: str) -> float:
    """1.0 if the turn is one call of the right tool and nothing else, and its result is the expected one."""
    expected = json.loads(answer)
    if len(reply.tool_calls) != 1 or reply.content.strip():
        return 0.0
    call = reply.tool_calls[0]
    if call.name != expected["name"]:
        return 0.0
    try:
        return float(_result(call.name, call.arguments) == _result(call.name, expected["arguments"]))
    except ARGUMENT_ERRORS:
        return 0.0


def _result(name: str, arguments: dict[str, Any]) -> Any:
    return TOOLS[name](**arguments)
