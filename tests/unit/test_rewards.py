"""What an answer is worth."""

import json

import pytest

import rewards
from polymath.chat import Reply, ToolCall
from rewards.length import length_penalty
from rewards.math_answer import math_answer
from rewards.tool_calls import tool_calls


@pytest.mark.parametrize(
    ("content", "worth"),
    [
        ("85", 1), ("The answer is 85.", 1), (r"\boxed{85}", 1), ("85.0", 1), ("-85", 0), ("58", 0), ("", 0),
        ("85 or 86", 0), ("84 85 86", 0), ("85th", 0), ("x85", 0), ("8 5", 0), ("85, 85", 0),
        ("\u2212 85", 0), ("\u221285", 0), ("- 85", 0), ("x-85", 0), ("8\u0665", 0), ("84x 85", 0), ("85.", 1),
    ],
)  # fmt: skip
def test_one_right_number_and_no_other(content: str, worth: float) -> None:
    assert math_answer(Reply(content), "85") == worth


@pytest.mark.parametrize(
    ("call", "worth"),
    [
        (ToolCall("calculate", {"expression": "12 times 30"}), 1),
        (ToolCall("calculate", {"expression": "30 times 12"}), 1),
        (ToolCall("calculate", {"expression": "12 times 31"}), 0),
        (ToolCall("calculate", {"expression": "12 times"}), 0),
        (ToolCall("calculate", {"expression": "12 over 3"}), 0),
        (ToolCall("calculate", {"expression": "36 times 10"}), 0),
        (ToolCall("calculate", {"expression": 360}), 0),
        (ToolCall("calculate", {"wrong": "12 times 30"}), 0),
        (ToolCall("convert", {"length": "360 m", "to": "m"}), 0),
        (ToolCall("__import__", {"name": "os"}), 0),
    ],
)
def test_a_call_is_worth_what_it_does(call: ToolCall, worth: float) -> None:
    answer = json.dumps({"name": "calculate", "arguments": {"expression": "12 times 30"}})
    assert tool_calls(Reply("", "", (call,)), answer) == worth
    assert tool_calls(Reply("", "", (call, call)), answer) == 0
    assert tool_calls(Reply("hm", "", (call,)), answer) == 0


def test_a_broken_format_is_worth_nothing() -> None:
    assert rewards.verify("math_answer", "85<eos>", "non_think", "85", "<eos>") == 1.0
    assert rewards.verify("math_answer", "85", "non_think", "85", "<eos>") == 0.0
    assert rewards.verify("math_answer", "85<eos>", "high", "85", "<eos>") == 0.0


def test_hostile_text_is_worth_nothing_and_harms_nothing() -> None:
    nested = f'<\uff5cDSML\uff5cparameter name="a" string="false">{"[" * 20_000}</\uff5cDSML\uff5cparameter>'
    call = f'<\uff5cDSML\uff5cinvoke name="calculate">\n{nested}\n</\uff5cDSML\uff5cinvoke>'
    block = f"\n\n<\uff5cDSML\uff5ctool_calls>\n{call}\n</\uff5cDSML\uff5ctool_calls><eos>"
    answer = json.dumps({"name": "calculate", "arguments": {"expression": "12 times 30"}})
    assert rewards.verify("tool_calls", block, "non_think", answer, "<eos>") == 0.0
    assert math_answer(Reply("12345678901234567899"), "12345678901234567890") == 0.0


def test_the_length_penalty_by_hand() -> None:
    assert length_penalty(0, 0.1, 100, 0.5) == 0
    assert length_penalty(50, 0.1, 100, 0.5) == pytest.approx(-0.05)
    assert length_penalty(10_000, 0.1, 100, 0.5) == -0.5
