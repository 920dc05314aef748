"""What is rendered: the official encoder's samples, vLLM's copy of it where that is installed, and what is refused."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from polymath.chat import Mode, render, segments
from polymath.chat.tokens import ALL_TOKENS, BOS, EOS, MAX_EFFORT, USER

SAMPLES = [json.loads(line) for line in (Path(__file__).parents[1] / "data/dsml/render.jsonl").open(encoding="utf-8")]


def mode_of(sample: dict) -> Mode:
    if sample["thinking_mode"] == "chat":
        return "non_think"
    return "max" if sample["reasoning_effort"] == "max" else "high"


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample["name"])
def test_samples_of_the_official_encoder(sample: dict) -> None:
    assert render(sample["messages"], mode_of(sample)) == sample["rendered"]


def plain(messages: list[dict]) -> list[dict]:
    """The same conversation without what the official encoder does not know: other forms of text, reasoning, tools."""

    def text(value: Any) -> str:
        return "\n\n".join(part["text"] for part in value) if isinstance(value, list) else value or ""

    out = []
    for message in messages:
        given = message.get("reasoning")
        reasoning = text(message.get("reasoning_content") if given is None else given)
        tools = [tool if "function" in tool else {"function": tool} for tool in message.get("tools") or ()]
        out.append({**message, "content": text(message.get("content")), "reasoning": reasoning, "tools": tools})
    return out


def opens_after_system(messages: list[dict]) -> bool:
    """Whether a later revision of the encoder differs: it answers a system message that no user follows."""
    roles = [message["role"] for message in messages] + ["assistant"]
    return any(one == "system" and two not in ("user", "tool", "system") for one, two in itertools.pairwise(roles))


def test_equal_to_vllm_on_random_conversations(conversations) -> None:
    theirs = pytest.importorskip("vllm.tokenizers.deepseek_v4_encoding")
    is_later = hasattr(theirs, "REASONING_EFFORT_PROMPTS")
    # Later revisions name April's Max paragraph `high`, and April's High, which adds nothing, `low`
    efforts = {"high": "low", "max": "high"} if is_later else {"max": "max"}
    compared = 0
    for messages, mode, options in conversations(4000, seed=7):
        if options.get("tools") or (is_later and opens_after_system(messages)):
            continue  # tools as an argument are ours
        drop_thinking = options.get("drop_thinking", True)
        official = theirs.encode_messages(
            plain(messages),
            "chat" if mode == "non_think" else "thinking",
            drop_thinking=drop_thinking,
            reasoning_effort=efforts.get(mode),
        )
        if options.get("add_generation_prompt", True):
            assert render(messages, mode, drop_thinking=drop_thinking) == official
            compared += 1
    assert compared >= 1000


def test_both_names_of_reasoning_and_both_forms_of_arguments() -> None:
    arguments = {"city": 'Paris "centre" <b>', "days": 3, "opts": None}
    call = {"type": "function", "function": {"name": "f", "arguments": json.dumps(arguments)}}
    as_object = {"type": "function", "function": {"name": "f", "arguments": arguments}}
    one = {"role": "assistant", "content": None, "reasoning": "why", "tool_calls": [call]}
    two = {"role": "assistant", "content": "", "reasoning_content": "why", "tool_calls": [as_object]}
    question = {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    assert render([question, one], "high") == render([{"role": "user", "content": "a\n\nb"}, two], "high")


def test_tools_as_an_argument_stand_on_the_first_system_message() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    question = {"role": "user", "content": "q"}
    on_message = [{"role": "system", "content": "", "tools": [tool]}, question]
    assert render([question], "high", tools=[tool]) == render(on_message, "high")
    with pytest.raises(ValueError, match="tools are given twice"):
        render(on_message, "high", tools=[tool])


def test_without_a_generation_prompt_nothing_follows_the_last_message() -> None:
    question = [{"role": "user", "content": "q"}]
    assert render(question, "max", add_generation_prompt=False) == f"{BOS}{MAX_EFFORT}<｜User｜>q"
    answered = [*question, {"role": "assistant", "content": "a"}]
    assert render(answered, "non_think", add_generation_prompt=False) == render(answered, "non_think")


def test_segments_tell_what_the_model_writes(conversations) -> None:
    for messages, mode, options in conversations(200, seed=8):
        parts = segments(messages, mode, **options)
        assert "".join(part.text for part in parts) == render(messages, mode, **options)
        answers = sum(message["role"] == "assistant" for message in messages)
        assert sum(part.generated for part in parts) <= answers  # an empty unfinished answer leaves no text
        for part in parts:
            assert not part.generated or USER not in part.text
            assert part.generated or EOS not in part.text


@pytest.mark.parametrize("token", ALL_TOKENS)
def test_tokens_of_the_format_are_refused_by_name(token: str) -> None:
    text = f"a{token}b"
    call = {"type": "function", "function": {"name": "f", "arguments": json.dumps({"k": text})}}
    nested = {"type": "function", "function": {"name": "f", "arguments": {"k": [{"x": text}]}}}
    named = {"type": "function", "function": {"name": text, "arguments": {}}}
    keyed = {"type": "function", "function": {"name": "f", "arguments": {text: 1}}}
    asked = {"role": "user", "content": "q"}
    places: list[tuple[str, list[dict]]] = [
        ("messages[0].content", [{"role": "user", "content": text}]),
        ("messages[0].content", [{"role": "system", "content": text}, asked]),
        ("messages[1].content", [asked, {"role": "assistant", "content": text}]),
        ("messages[1].reasoning", [asked, {"role": "assistant", "content": "", "reasoning": text}]),
        ("messages[2].content", [asked, {"role": "assistant", "content": ""}, {"role": "tool", "content": text}]),
        ("messages[0].tools", [{"role": "system", "tools": [{"type": "function", "function": {"name": text}}]}]),
        ("messages[0].response_format", [{"role": "system", "response_format": {"title": text}}]),
        *[
            ("messages[1].tool_calls[0]", [asked, {"role": "assistant", "tool_calls": [bad]}])
            for bad in (call, nested, named, keyed)
        ],
    ]
    for field, messages in places:
        with pytest.raises(ValueError) as error:
            render(messages, "high")
        assert field in str(error.value) and token in str(error.value)


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ({"role": "robot", "content": ""}, "messages[0].role is 'robot'"),
        ({"role": "developer", "content": ""}, "messages[0].content: a developer message needs content"),
        ({"role": "user", "content": "", "task": "sing"}, "messages[0].task is 'sing'"),
        ({"role": "user", "content": 3}, "messages[0].content: content is text"),
        ({"role": "user", "content": "", "tools": [{"name": "f"}]}, "tools belong on a system or developer message"),
        ({"role": "user", "content": "", "response_format": {"x": 1}}, "response_format belong on a system"),
        ({"role": "user", "content": "", "task": ["x"]}, "messages[0].task is ['x']"),
        ({"role": "user", "content": "\ud800"}, "messages[0].content holds '\\ud800', half of a character"),
        ({"role": "system", "tools": "f"}, "messages[0].tools is a list of tools"),
        ({"role": "system", "tools": [{"type": "function"}]}, "messages[0].tools[0]: a tool is a function, or"),
        ({"role": "system", "tools": [{"function": {"name": "f", "x": {1}}}]}, "messages[0].tools is no JSON"),
        ({"role": "assistant", "tool_calls": "f"}, "messages[0].tool_calls is a list of calls"),
        ({"role": "assistant", "tool_calls": [None]}, "messages[0].tool_calls[0]: a call is"),
        ({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {1: 2}}}]}, "names of parameters are text"),
        ({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"x": float("nan")}}}]}, "is no JSON"),
        ("hello", "messages[0]: a message is"),
        ({"role": "assistant", "tool_calls": [{"name": "f"}]}, "messages[0].tool_calls[0]: a call is"),
        ({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]}, "arguments are a JSON object"),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {'a" string="true">b': 1}}}]},
            "would not be read back",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_rendered_is_named(message: dict, says: str) -> None:
    with pytest.raises(ValueError) as error:
        render([message], "high")
    assert says in str(error.value)
    with pytest.raises(ValueError, match="mode is 'loud'; choose one of non_think, high, max"):
        render([], "loud")  # type: ignore[arg-type]
    for nothing in (None, "hello", {"role": "user"}):
        with pytest.raises(ValueError, match="messages is a list of messages"):
            render(nothing, "high")  # type: ignore[arg-type]


def test_a_python_function_is_a_tool() -> None:
    def add(a: int, b: int) -> int:
        """Add two numbers.

        Args:
            a: One.
            b: The other.
        """
        return a + b

    text = render([{"role": "user", "content": "q"}], "high", tools=[add])
    assert '{"name": "add", "description": "Add two numbers.", "parameters": {"type": "object"' in text
