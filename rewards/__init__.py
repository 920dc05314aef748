"""Rewards: what an episode is worth, from what the model wrote alone; no torch.

A verifier takes the model's turns, parsed, and the answer that their task stores, and gives 1.0 or 0.0. A turn that
does not keep to the format of its think mode makes the episode worth nothing: it cannot be read.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from polymath.chat import Mode, parse
from rewards.final_state import final_state
from rewards.function_calls import function_calls
from rewards.math_answer import math_answer

Turns = Sequence[Mapping[str, Any]]
VERIFIERS: dict[str, Callable[[Turns, str], float]] = {
    "math_answer": math_answer,
    "final_state": final_state,
    "function_calls": function_calls,
}


def verify(reward: str, turns: Sequence[str], think: Mode, answer: str, eos_token: str) -> float:
    """The reward of an episode, turn by turn with special tokens and all; 0.0 where a turn breaks the format."""
    parsed = [parse(turn, think, strict=False, eos_token=eos_token) for turn in turns]
    if any(turn["faults"] for turn in parsed):
        return 0.0
    return VERIFIERS[reward](parsed, answer)


def keeps_format(turns: Sequence[str], think: Mode, eos_token: str) -> bool:
    """Whether every turn can be read, and the first one reasons if and only if its mode does."""
    parsed = [parse(turn, think, strict=False, eos_token=eos_token) for turn in turns]
    if not parsed or any(turn["faults"] for turn in parsed):
        return False
    return bool(parsed[0]["reasoning"].strip()) == (think != "non_think")
