"""Whether an episode of calls did what was asked: its calls are made again, and what they leave is compared."""

import json
from typing import Literal

from polymath.completion import Completion
from polymath.domains.environment import open_environment
from rewards.base import Verifier, Workbench
from rewards.score import Score
from rewards.statement import introduces


class FinalState(Verifier):
    """1.0 if the last turn answers without calls, and the calls before it left the expected state.

    Where the task asks for a value, the answer has to end with it and lead to no other: a list of candidates is worth
    nothing.
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
        try:
            state = json.loads(json.dumps(environment.state())) == expected["state"]
        except (ValueError, TypeError, RecursionError):  # what the calls left is more than JSON can say
            state = False
        said = expected["content"] is None or says(last["content"], expected["content"])
        faults = [fault for right, fault in ((state, "another state"), (said, "another value")) if not right]
        return Score(float(not faults), {"state": float(state), "answer": float(said)}, tuple(faults))


def says(content: str, value: str) -> bool:
    """Whether a text ends with a value, alone or led to by words such as "It is", and names no other."""
    stated = content.strip().rstrip(".!")
    before = stated.removesuffix(value) if stated.endswith(value) else content.strip().removesuffix(value)
    return (stated.endswith(value) or content.strip().endswith(value)) and introduces(before)
