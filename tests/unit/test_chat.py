"""The format of the report: what is rendered, and what is refused."""

import pytest

from polymath.chat import EOS, Reply, ToolCall, V4Template, parse_reply

CALL = ToolCall("get_weather", {"city": 'Paris "centre" <b>', "days": 3})
BLOCK = (
    "\n\n<｜DSML｜tool_calls>\n"
    '<｜DSML｜invoke name="get_weather">\n'
    '<｜DSML｜parameter name="city" string="true">Paris "centre" <b></｜DSML｜parameter>\n'
    '<｜DSML｜parameter name="days" string="false">3</｜DSML｜parameter>\n'
    "</｜DSML｜invoke>\n"
    "</｜DSML｜tool_calls>"
)


def test_the_header_opens_or_closes_the_reasoning() -> None:
    template = V4Template()
    assert template.prompt("2+2?", "non_think") == "<｜begin▁of▁sentence｜><｜User｜>2+2?<｜Assistant｜></think>"
    assert template.prompt("2+2?", "high") == "<｜begin▁of▁sentence｜><｜User｜>2+2?<｜Assistant｜><think>"


def test_a_call_is_rendered_as_the_report_prints_it() -> None:
    reply = Reply("I will check.", "need weather", (CALL,))
    assert V4Template().completion(reply, "high") == f"need weather</think>I will check.{BLOCK}{EOS}"
    assert V4Template().completion(reply, "non_think") == f"I will check.{BLOCK}{EOS}"


@pytest.mark.parametrize(
    "reply",
    [
        Reply("4"),
        Reply("", "", (CALL,)),
        Reply("two", "", (CALL, ToolCall("other", {"x": [1, {"y": None}], "s": ""}))),
        Reply("line\n\nbreaks, ｜ and <tags>"),
    ],
)
def test_what_is_rendered_is_read_back(reply: Reply) -> None:
    assert parse_reply(V4Template().completion(reply, "non_think"), "non_think") == reply
    thinking = Reply(reply.content, "why\n\nnot", reply.tool_calls)
    assert parse_reply(V4Template().completion(thinking, "high"), "high") == thinking


@pytest.mark.parametrize(
    ("text", "mode", "says"),
    [
        ("4", "non_think", "end-of-turn"),
        (f"hm 4{EOS}", "high", "never closed"),
        (f"a<think>b</think>c{EOS}", "high", "opens <think> again"),
        (f"a</think>b</think>c{EOS}", "high", "token of the conversation"),
        (f"4<｜User｜>5{EOS}", "non_think", "token of the conversation"),
        (f"4{EOS}{EOS}", "non_think", "token of the conversation"),
        (f"{BLOCK} and more{EOS}", "non_think", "does not end the turn"),
        (f"{BLOCK.replace('</｜DSML｜invoke>', '')}{EOS}", "non_think", "more than whole calls"),
        (f"{BLOCK.replace('false', 'maybe')}{EOS}", "non_think", "more than whole calls"),
        (f"{BLOCK.replace('>3<', '>3 <')}{EOS}", "non_think", "more than whole calls"),
        (f"{BLOCK.replace('days', 'city').replace('false', 'true')}{EOS}", "non_think", "repeats a parameter"),
        (f"{BLOCK.replace('>3<', '>three<')}{EOS}", "non_think", "Expecting value"),
        (f"see <｜DSML｜invoke{EOS}", "non_think", "outside"),
    ],
)
def test_what_breaks_the_format_is_refused(text: str, mode: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_reply(text, mode)  # type: ignore[arg-type]
