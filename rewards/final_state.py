"""Whether an episode of calls did what was asked: its calls are made again, and what they leave is compared."""

import json
import re
from typing import Literal

from polymath.completion import Completion
from polymath.domains.environment import open_environment
from rewards.base import Verifier, Workbench
from rewards.score import Score

DENIAL = re.compile(r"\b(?:not|never|no|cannot|neither)\b|n't\b", re.IGNORECASE)


class FinalState(Verifier):
    """1.0 if the last turn answers without calls, and the calls before it left the expected state.

    Where the task asks for a value, the last word of the answer has to be it, and no other word may hold a digit or
    deny it: a list of candidates is worth nothing.
    """

    name: Literal["final_state"] = "final_state"

    def verify(self, completion: Completion, bench: Workbench) -> Score:
        expected = json.loads(completion.answer)
        environment = open_environment(json.dumps(expected["environment"]))
        *acting, last = completion.turns
        if environment is None or last["tool_calls"] or not last["content"].strip():
            return Score(0.0, faults=("it does not end with an answer",))
        for turn in acting:
            for call in turn["tool_calls"]:
                environment.run(call["function"]["name"], call["function"]["arguments"])
        state = json.loads(json.dumps(environment.state())) == expected["state"]
        said = expected["content"] is None or says(last["content"], expected["content"])
        faults = [fault for right, fault in ((state, "another state"), (said, "another value")) if not right]
        return Score(float(not faults), {"state": float(state), "answer": float(said)}, tuple(faults))


def says(content: str, value: str) -> bool:
    """Whether a text ends with a value and names no other."""
    *before, last = content.split()
    if last != value and last.rstrip(".!") != value:
        return False
    return not any(character.isdigit() for word in before for character in word) and not DENIAL.search(" ".join(before))
