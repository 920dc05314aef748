"""Rewards: what an answer is worth, from its text alone; no torch.

A verifier takes an assistant's reply and the answer that its task stores, and gives 1.0 or 0.0. An answer that does not
keep to the format of its think mode is worth nothing: it cannot be read.
"""

from collections.abc import Callable

from polymath.chat import Mode, Reply, parse_reply
from rewards.math_answer import math_answer
from rewards.tool_calls import tool_calls

VERIFIERS: dict[str, Callable[[Reply, str], float]] = {"math_answer": math_answer, "tool_calls": tool_calls}


def verify(reward: str, text: str, mode: Mode, answer: str, eos_token: str) -> float:
    """The reward of a completion, special tokens and all; 0.0 where the text breaks the format."""
    try:
        reply = parse_reply(text, mode, eos_token)
    except (ValueError, RecursionError):  # RecursionError: JSON nested thousands of levels deep
        return 0.0
    return VERIFIERS[reward](reply, answer)
