"""What is read: the official parser's samples and its leniences, properties over all texts, hostile completions."""

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polymath.chat import MODES, Mode, parse, render, segments
from polymath.chat.dsml import V4, V41, Call, Dialect, render_calls
from polymath.chat.tokens import ALL_TOKENS, DSML, EOS, THINK

SAMPLES = [json.loads(line) for line in (Path(__file__).parents[1] / "data/dsml/parse.jsonl").open(encoding="utf-8")]
QUESTION = {"role": "user", "content": "q"}
CALL = Call("get_weather", {"city": 'Paris "centre" <b>', "days": 3})
BLOCK = render_calls([CALL], V4)

# Look-alikes of every tag in ASCII, the pieces that the grammar is made of, and anything else that unicode has
PIECES = [
    "<|User|>", "<|DSML|tool_calls>", "<tool_call>", "</tool_calls>", "\n\n", "\n", '">', '"', "<", ">", "/", "|",
    "\uff5c", "<think", "/think>", "</thinking>", ' name="', ' string="true"', "{", "}", "[", "\\", "true", "invoke",
    "parameter", "\u2028", "\x00", "\u0130", "\U0001f600", "<tool_result>",
]  # fmt: skip
texts = st.one_of(st.text(), st.lists(st.sampled_from(PIECES) | st.text(max_size=3)).map("".join)).filter(
    lambda text: not any(token in text for token in ALL_TOKENS)
)
keys = texts.filter(lambda key: '" string="true">' not in key and '" string="false">' not in key)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
calls = st.lists(st.tuples(texts, st.dictionaries(keys, values, max_size=4)), max_size=3)


def message(content: str, reasoning: str, made: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    tool_calls = [
        {"type": "function", "function": {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}}
        for name, arguments in made
    ]
    return {"role": "assistant", "content": content, "reasoning": reasoning, "tool_calls": tool_calls}


def completion(answer: dict[str, Any], mode: Mode) -> str:
    return segments([QUESTION, answer], mode)[-1].text


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample["name"])
def test_samples_of_the_official_parser(sample: dict) -> None:
    mode: Mode = "non_think" if sample["thinking_mode"] == "chat" else "high"
    if sample.get("error"):
        with pytest.raises(ValueError, match="at character"):
            parse(sample["text"], mode)
        assert parse(sample["text"], mode, strict=False)["faults"]
    else:
        assert parse(sample["text"], mode) == sample["parsed"]


@settings(max_examples=400, deadline=None)
@given(texts, texts, calls, st.sampled_from(MODES))
def test_what_is_rendered_is_read_back(content: str, reasoning: str, made: list, mode: Mode) -> None:
    answer = message(content, "" if mode == "non_think" else reasoning, made)
    text = completion(answer, mode)
    assert parse(text, mode) == answer
    assert parse(text, mode, strict=False) == answer | {"faults": []}


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=8), st.sampled_from(ALL_TOKENS), st.text(max_size=8), st.integers(0, 3))
def test_special_tokens_are_refused_and_never_misread(before: str, token: str, after: str, place: int) -> None:
    text = before + token + after
    arguments = {text: 1} if place == 2 else {"k": text}
    fields = [message(text, "", []), message("", text, []), *[message("", "", [("f", arguments)])] * 2]
    with pytest.raises(ValueError, match="token of the format"):
        render([QUESTION, fields[place]], "high")


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from([*PIECES, *ALL_TOKENS, BLOCK, BLOCK[:50], BLOCK[60:]]) | st.text(max_size=4)).map("".join)
)
def test_strict_refuses_nothing_that_tolerant_finds_whole(text: str) -> None:
    for mode in MODES:
        tolerant = parse(text, mode, strict=False)
        for call in tolerant["tool_calls"]:
            assert isinstance(json.loads(call["function"]["arguments"]), dict)
        if not tolerant.pop("faults"):
            assert parse(text, mode) == tolerant


def mutated(text: str, rng: random.Random) -> str:
    pieces = ["</think>", THINK, EOS, BLOCK, f"<{DSML}invoke", f"</{DSML}parameter>", '"', "\n", ">", "\x00", "[" * 50]
    for _ in range(rng.randrange(1, 6)):
        at, end = sorted(rng.randrange(len(text) + 1) for _ in range(2))
        text = rng.choice(
            [text[:at] + text[end:], text[:at] + rng.choice(pieces) + text[at:], text[:at] + text[end:] * 2]
        )
    return text[:2000]


def test_tolerant_reading_of_mutated_completions_raises_nothing() -> None:
    rng = random.Random(0)
    whole = [
        f"why</think>two{BLOCK}{EOS}",
        f"why</think>4{EOS}",
        f"{BLOCK}{EOS}",
        f"x{render_calls([CALL] * 3, V41)}{EOS}",
    ]
    faulty = 0
    for _ in range(100_000):
        read = parse(mutated(rng.choice(whole), rng), rng.choice(MODES), strict=False)
        faulty += bool(read["faults"])
    assert faulty > 80_000


def test_deep_and_huge_values_are_faults() -> None:
    for value in ("[" * 100_000, "9" * 10_000, "NaN", "three", "", '{"a":'):
        text = BLOCK.replace(">3<", f">{value}<") + EOS
        read = parse(text, "non_think", strict=False)
        assert len(read["faults"]) == 1 and json.loads(read["tool_calls"][0]["function"]["arguments"])["days"] == value
        assert parse(text, "non_think")["tool_calls"]  # the official parser does not look into values


@pytest.mark.parametrize(
    "unit",
    ["x", "<", "</think", f"<{DSML}", f"<{DSML}invoke", f'<{DSML}invoke name="a">\n', f"</{DSML}invoke>\n", BLOCK, EOS, '" string="',
     f'<{DSML}parameter name="k" string="true">v</{DSML}parameter>\n', "\n\n", '"> \n', f"/{DSML}parameter"],
)  # fmt: skip
def test_a_megabyte_takes_linear_time(unit: str) -> None:
    """Ten times the text takes about ten times as long, and a megabyte no more than seconds."""
    inside = BLOCK.removesuffix(f"\n</{DSML}tool_calls>")
    for opening in ("", "why</think>", f"why</think>{inside}\n"):
        text = opening + unit * (1_000_000 // len(unit))
        started = time.process_time()
        parse(text, "high", strict=False)
        assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("text", "mode", "says"),
    [
        ("4", "non_think", "at character 1: the turn has no end-of-turn token"),
        (f"hm 4{EOS}", "high", "never closed"),
        (f"a<think>b</think>c{EOS}", "high", "at character 1: the reasoning holds <think>"),
        (f"a</think>b</think>c{EOS}", "high", "at character 10: the content holds </think>"),
        (f"a{BLOCK}{EOS}", "high", "calls begin before the reasoning is closed"),
        (f"4{EOS}{EOS}", "non_think", "something follows the end of the turn"),
        (f"{BLOCK} and more{EOS}", "non_think", "something follows the calls"),
        (f"{BLOCK.replace('</｜DSML｜invoke>', '')}{EOS}", "non_think", "parameters are parted by"),
        (f"{BLOCK.replace('false', 'maybe')}{EOS}", "non_think", "a parameter is"),
        (f"{BLOCK.replace('days', 'city')}{EOS}", "non_think", "the parameter 'city' is given twice"),
        (f"see <｜DSML｜invoke{EOS}", "non_think", "the content holds ｜DSML｜"),
    ],
)
def test_strict_reading_says_where(text: str, mode: Mode, says: str) -> None:
    with pytest.raises(ValueError) as error:
        parse(text, mode)
    assert says in str(error.value)
    faults = parse(text, mode, strict=False)["faults"]
    assert str(faults[0]) == str(error.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BLOCK, "no end-of-turn token after its calls"),
        (BLOCK.removesuffix("\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>"), "never closed"),
        ("\n\n<｜DSML｜tool_calls>\n</｜DSML｜tool_calls>" + EOS, "holds no call"),
        (f"4<｜User｜>5{EOS}", "the content holds <｜User｜>"),
        (BLOCK.replace("Paris", "<｜User｜>") + EOS, "the call holds <｜User｜>"),
    ],
)
def test_what_the_official_parser_lets_pass_is_a_fault_all_the_same(text: str, says: str) -> None:
    text = text if text.endswith(EOS) or text == BLOCK else text + "\n"
    if says != "never closed":
        parse(text, "non_think")
    assert any(says in str(fault) for fault in parse(text, "non_think", strict=False)["faults"])


@pytest.mark.parametrize("dialect", [V4, V41])
def test_the_tags_of_september_are_read_as_well(dialect: Dialect) -> None:
    text = f"why</think>I check.{render_calls([CALL, Call('g', {})], dialect)}{EOS}"
    made = [(CALL.name, CALL.arguments), ("g", {})]
    assert parse(text, "max") == message("I check.", "why", made)
    assert not parse(text, "max", strict=False)["faults"]
    assert dialect is V4 or f"<{DSML} calls>\n<{DSML} invoke name=" in text


def test_another_end_of_turn_token() -> None:
    assert parse("4<|im_end|>", "non_think", eos_token="<|im_end|>")["content"] == "4"
    with pytest.raises(ValueError, match="no end-of-turn"):
        parse("4<|im_end|>", "non_think")
    assert parse("a<|im_end|>b</think>c<|im_end|>", "high", strict=False, eos_token="<|im_end|>")["faults"]
