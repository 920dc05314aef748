"""Whether an episode of calls did what was asked: its calls are made again, and what they leave is compared."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from polymath.domains.environment import open_environment


def final_state(turns: Sequence[Mapping[str, Any]], answer: str) -> float:
    """1.0 if the last turn answers without calls, and the calls before it left the expected state.

    Where the task asks for a value, the last word of the answer has to be it, and no other word may hold a digit: a
    list of candidates is worth nothing.
    """
    expected = json.loads(answer)
    environment = open_environment(json.dumps(expected["environment"]))
    if not turns:
        return 0.0
    *acting, last = turns
    if environment is None or last["tool_calls"] or not last["content"].strip():
        return 0.0
    for turn in acting:
        for call in turn["tool_calls"]:
            environment.run(call["function"]["name"], call["function"]["arguments"])
    right = json.loads(json.dumps(environment.state())) == expected["state"]
    return float(right and (expected["content"] is None or _says(last["content"], expected["content"])))


def _says(content: str, value: str) -> bool:
    *before, last = content.split()
    if last != value and last.rstrip(".!") != value:
        return False
    return not any(character.isdigit() for word in before for character in word)
