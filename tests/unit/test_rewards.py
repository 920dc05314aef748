"""What an episode is worth."""

import json
import time
from typing import Any

import pytest

from polymath.chat import Mode, parse
from polymath.chat.dsml import V4, Call, render_calls
from polymath.chat.tokens import EOS
from polymath.completion import Completion
from rewards.length import length_penalty


def turn(content: str, *calls: Call) -> dict[str, Any]:
    made = [{"function": {"name": call.name, "arguments": json.dumps(call.arguments)}} for call in calls]
    return {"role": "assistant", "content": content, "reasoning": "", "tool_calls": made}


@pytest.mark.parametrize(
    ("content", "worth"),
    [
        ("85", 1), ("The answer is 85.", 1), (r"\boxed{85}", 1), ("85.0", 1), ("-85", 0), ("58", 0), ("", 0),
        ("85 or 86", 0), ("84 85 86", 0), ("85th", 0), ("x85", 0), ("8 5", 0), ("85, 85", 0),
        ("\u2212 85", 0), ("\u221285", 0), ("- 85", 0), ("x-85", 0), ("8\u0665", 0), ("84x 85", 0), ("85.", 1),
    ],
)  # fmt: skip
def test_one_right_number_and_no_other(score, content: str, worth: float) -> None:
    assert score("math_answer", [turn(content)], "85").value == worth
    assert score("math_answer", [turn(content, Call("f", {}))], "85").value == 0
    assert score("math_answer", [turn(""), turn(content)], "85").value == 0


STATE = {"book": {"Ada": "12", "Bob": "30"}, "events": [["Monday", 9, "yoga"]], "files": {}}
TOOLS = ["look_up", "calculate", "save", "write_file"]
BOTH = (Call("look_up", {"name": "Ada"}), Call("look_up", {"name": "Bob"}))
SUM = Call("calculate", {"a": 12, "operation": "plus", "b": 30})


def expecting(content: str | None, **changes: Any) -> str:
    environment = {"kind": "desk", "tools": TOOLS, "state": STATE}
    return json.dumps({"environment": environment, "state": STATE | changes, "content": content})


@pytest.mark.parametrize(
    ("turns", "worth"),
    [
        ([turn("", *BOTH), turn("", SUM), turn("42")], 1),
        ([turn("", *BOTH), turn("It is 42.")], 1),
        ([turn("", *BOTH), turn("It is 41 or 42.")], 0),
        ([turn("", *BOTH), turn("42 it is")], 0),
        ([turn("", *BOTH), turn("")], 0),
        ([turn("", *BOTH)], 0),
        ([turn("42", *BOTH)], 0),
        ([turn("", Call("save", {"name": "Ada", "entry": "13"})), turn("42")], 0),
        ([turn("", Call("save", {"name": "Ada", "entry": "12"})), turn("42")], 1),
        ([turn("", Call("__import__", {"name": "os"}), Call("look_up", {"name": 3})), turn("42")], 1),
    ],
)
def test_an_answer_on_an_untouched_desk(score, turns: list[dict[str, Any]], worth: float) -> None:
    assert score("final_state", turns, expecting("42")).value == worth


def test_what_the_calls_leave_is_compared(score) -> None:
    def final_state(turns: list[dict[str, Any]], answer: str) -> float:
        return score("final_state", turns, answer).value

    written = expecting(None, files={"notes": "42"})
    right = turn("", Call("write_file", {"name": "notes", "text": "42"}))
    assert final_state([right, turn("Done.")], written) == 1
    assert final_state([turn("Done.")], written) == 0
    assert final_state([turn("", Call("write_file", {"name": "notes", "text": 42})), turn("Done.")], written) == 0
    offered = turn("", Call("append_file", {"name": "notes", "text": "42"}))  # not among the tools on offer
    assert final_state([right, offered, turn("Done.")], written) == 1
    assert final_state([right, turn("", Call("save", {"name": "Eve", "entry": "1"})), turn("Done.")], written) == 0


def test_a_broken_format_is_worth_nothing(worth) -> None:
    assert worth("math_answer", ["85<eos>"], "non_think", "85", "<eos>") == 1.0
    assert worth("math_answer", ["85"], "non_think", "85", "<eos>") == 0.0
    assert worth("math_answer", ["85<eos>"], "high", "85", "<eos>") == 0.0
    cut_off = [render_calls(BOTH, V4), f"42{EOS}"]
    assert worth("final_state", cut_off, "non_think", expecting("42"), EOS) == 0.0


def keeps_format(texts: list[str], think: Mode, eos: str) -> bool:
    turns = tuple(parse(text, think, strict=False, eos_token=eos) for text in texts)
    return Completion(turns=turns, reward="", answer="", think=think).keeps_format()


def test_a_mode_is_kept_or_not() -> None:
    assert keeps_format([f"why</think>4{EOS}", f"</think>5{EOS}"], "high", EOS)
    assert not keeps_format([f"</think>4{EOS}"], "high", EOS)
    assert keeps_format([f"4{EOS}"], "non_think", EOS)
    assert not keeps_format([f"why</think>4{EOS}"], "non_think", EOS)
    assert not keeps_format([f"4{EOS}", "5"], "non_think", EOS)


def test_hostile_text_is_worth_nothing_and_harms_nothing(score, worth) -> None:
    nested = f'<\uff5cDSML\uff5cparameter name="a" string="false">{"[" * 20_000}</\uff5cDSML\uff5cparameter>'
    call = f'<\uff5cDSML\uff5cinvoke name="calculate">\n{nested}\n</\uff5cDSML\uff5cinvoke>'
    block = f"\n\n<\uff5cDSML\uff5ctool_calls>\n{call}\n</\uff5cDSML\uff5ctool_calls><eos>"
    assert worth("final_state", [block, "42<eos>"], "non_think", expecting("42"), "<eos>") == 0.0
    assert score("math_answer", [turn("12345678901234567899")], "12345678901234567890").value == 0.0


def test_a_long_answer_is_judged_at_once(score) -> None:
    started = time.process_time()
    long = turn("a" * 200_000 + " b ")
    assert score("final_state", [long, long], expecting("5")).value == 0
    assert score("math_answer", [turn("(" * 200_000)], "5").value == 0
    many, asked = [turn("", *[Call("f", {})] * 40)], [{"name": "f", "parameters": {}}] * 41
    assert [score("tool_calls", many, json.dumps(asked[:n])).value for n in (41, 40)] == [0, 1]
    assert score("final_state", [], expecting("5")).value == 0 and not keeps_format([], "high", EOS)
    assert time.process_time() - started < 2


def test_the_length_penalty_by_hand() -> None:
    assert length_penalty(0, 0.1, 100, 0.5) == 0
    assert length_penalty(50, 0.1, 100, 0.5) == pytest.approx(-0.05)
    assert length_penalty(10_000, 0.1, 100, 0.5) == -0.5
