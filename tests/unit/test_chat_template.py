"""The chat template and the response template, as transformers and TRL use them."""

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from trl import chat_template_utils as trl_chat

from polymath.chat import Mode, parse, render, segments
from polymath.chat.template import RESPONSE_TEMPLATE, chat_template, install
from polymath.chat.tokens import (
    ALL_TOKENS,
    BOS,
    EOS,
    MAX_EFFORT,
    PAD,
    RESPONSE_FORMAT,
    SPECIAL_TOKENS,
    TEXT_TOKENS,
    TOOLS_BEFORE,
)

SAMPLES = Path(__file__).parent.parent / "data" / "dsml"
ARGUMENTS: dict[Mode, dict[str, Any]] = {
    "non_think": {"thinking": False},
    "high": {"thinking": True, "reasoning_effort": "high"},
    "max": {"thinking": True, "reasoning_effort": "max"},
}
QUESTION = {"role": "user", "content": "2+2?"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


def call(name: str = "f", arguments: Any = None) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": {} if arguments is None else arguments}}


def asking(name: str = "f", arguments: Any = None) -> dict[str, Any]:
    return {"role": "assistant", "content": "", "tool_calls": [call(name, arguments)]}


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE with some merges and the V4 tokens."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = [AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator([MAX_EFFORT, TOOLS_BEFORE, RESPONSE_FORMAT, *map(str, ARGUMENTS.values())], trainer)
    backend.add_tokens([AddedToken(token, special=False, normalized=False) for token in TEXT_TOKENS])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=BOS, eos_token=EOS, pad_token=PAD)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    made = make_tokenizer()
    install(made)
    return made


def rendered(tokenizer: Any, messages: Sequence[Any], **options: Any) -> str:
    return tokenizer.apply_chat_template(messages, tokenize=False, **({"add_generation_prompt": True} | options))


def sample_rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (SAMPLES / name).read_text(encoding="utf-8").splitlines()]


def sample_mode(row: dict[str, Any]) -> Mode:
    if row["thinking_mode"] == "chat":
        return "non_think"
    return "max" if row.get("reasoning_effort") == "max" else "high"


def with_mappings(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The conversation with its calls' arguments as transformers has them."""
    out = copy.deepcopy(list(messages))
    for function in (call["function"] for message in out for call in message.get("tool_calls") or []):
        function["arguments"] = json.loads(function["arguments"])
    return out


@pytest.mark.parametrize("row", sample_rows("render.jsonl"), ids=lambda row: row["name"])
def test_the_official_texts(tokenizer: Any, row: dict[str, Any]) -> None:
    messages, mode = with_mappings(row["messages"]), sample_mode(row)
    assert rendered(tokenizer, messages, **ARGUMENTS[mode]) == row["rendered"] == render(row["messages"], mode)


def generated_tokens(tokenizer: Any, parts: Sequence[Any]) -> tuple[list[int], list[int]]:
    """The ids of a conversation, and 1 for each token that holds something of what the model writes."""
    encoded = tokenizer("".join(part.text for part in parts), add_special_tokens=False, return_offsets_mapping=True)
    written = [part.generated for part in parts for _ in part.text]
    return encoded["input_ids"], [int(any(written[start:end])) for start, end in encoded["offset_mapping"]]


def test_random_conversations(tokenizer: Any, conversations: Callable[[int, int], list[Any]]) -> None:
    seen = set()
    for messages, mode, options in conversations(500, 0):
        parts = segments(messages, mode, **options)
        before = copy.deepcopy(messages)
        assert rendered(tokenizer, messages, **ARGUMENTS[mode], **options) == "".join(part.text for part in parts)
        asked: dict[str, Any] = {"return_assistant_tokens_mask": True, "return_dict": True}
        found = tokenizer.apply_chat_template(messages, **asked, **ARGUMENTS[mode], **options)
        assert (found["input_ids"], found["assistant_masks"]) == generated_tokens(tokenizer, parts)
        assert messages == before
        seen |= {(message["role"], mode) for message in messages}
    assert len(seen) == 18  # six roles, three modes


@pytest.mark.parametrize(
    ("arguments", "mode"),
    [
        ({}, "high"),
        ({"thinking": None, "reasoning_effort": None}, "high"),
        ({"enable_thinking": True}, "high"),
        ({"enable_thinking": False}, "non_think"),
        ({"thinking": False, "reasoning_effort": "max"}, "non_think"),
        ({"reasoning_effort": "none"}, "non_think"),
        ({"enable_thinking": True, "reasoning_effort": "none"}, "non_think"),
        ({"reasoning_effort": "low"}, "high"),
        ({"reasoning_effort": "max"}, "max"),
        ({"enable_thinking": True, "reasoning_effort": "xhigh"}, "max"),
    ],
)
def test_the_mode(tokenizer: Any, arguments: dict[str, Any], mode: Mode) -> None:
    assert rendered(tokenizer, [QUESTION], **arguments) == render([QUESTION], mode)


@pytest.mark.parametrize(
    "make",
    [
        lambda text: [{"role": "user", "content": text}],
        lambda text: [QUESTION, {"role": "user", "content": [{"type": "text", "text": text}]}],
        lambda text: [{"role": "system", "content": text}],
        lambda text: [{"role": "developer", "content": text}],
        lambda text: [{"role": "latest_reminder", "content": text}],
        lambda text: [{"role": "tool", "content": text}],
        lambda text: [{"role": "assistant", "content": text}],
        lambda text: [{"role": "assistant", "content": "", "reasoning": text}],
        lambda text: [{"role": "assistant", "content": "", "reasoning_content": text}],
        lambda text: [asking(name=text)],
        lambda text: [asking(arguments={text: 1})],
        lambda text: [asking(arguments={"a": text})],
        lambda text: [asking(arguments={"a": ["b", {"c": text}]})],
        lambda text: [{"role": "system", "tools": [TOOL, {"name": "g", "description": text}]}],
        lambda text: [{"role": "system", "content": "s", "response_format": {"title": text}}],
    ],
)
def test_tokens_of_the_format_are_refused(tokenizer: Any, make: Callable[[str], list[Any]]) -> None:
    for token in ALL_TOKENS:
        messages = make(f"a{token}b{BOS}")
        with pytest.raises(ValueError) as ours:
            render(messages, "high")
        with pytest.raises(jinja2.TemplateError) as theirs:
            rendered(tokenizer, messages)
        assert str(theirs.value) == str(ours.value)
        assert f"holds {token}" in str(theirs.value)


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "human", "content": "a"}],
        [{"content": "a"}],
        [QUESTION, QUESTION | {"task": "sing"}],
        [{"role": "user", "content": "a", "tools": [TOOL]}],
        [{"role": "developer", "content": ""}],
        [{"role": "user", "content": [{"type": "image", "url": "u"}]}],
        [{"role": "user", "content": {"type": "text", "text": "a"}}],
        [{"role": "user", "content": 5}],
        [{"role": "assistant", "tool_calls": [{"name": "f", "arguments": {}}]}],
        [asking(arguments=[1])],
    ],
)
def test_what_is_no_conversation_is_refused_as_render_does(tokenizer: Any, messages: list[Any]) -> None:
    with pytest.raises(ValueError) as ours:
        render(messages, "high")
    with pytest.raises(jinja2.TemplateError) as theirs:
        rendered(tokenizer, messages)
    assert str(theirs.value) == str(ours.value)


def test_tools_given_twice_are_refused(tokenizer: Any) -> None:
    with pytest.raises(jinja2.TemplateError, match="tools are given twice"):
        rendered(tokenizer, [{"role": "system", "tools": [TOOL]}], tools=[TOOL])


def test_the_name_of_a_parameter_must_be_readable(tokenizer: Any) -> None:
    with pytest.raises(jinja2.TemplateError, match="would not be read back"):
        rendered(tokenizer, [asking(arguments={'a" string="true">': 1})])


def test_arguments_are_a_mapping(tokenizer: Any) -> None:
    without = rendered(tokenizer, [QUESTION, asking()])
    assert rendered(tokenizer, [QUESTION, asking(arguments="")]) == without
    with pytest.raises(jinja2.TemplateError, match=r"messages\[1\]\.tool_calls\[0\].*json\.loads"):
        rendered(tokenizer, [QUESTION, asking(arguments='{"a": 1}')])
    values = {"text": "1", "int": 1, "float": 1.5, "true": True, "null": None, "list": [1, "\u00fc"], "empty": ""}
    text = rendered(tokenizer, [QUESTION, asking(arguments=values)], add_generation_prompt=False)
    assert text == render([QUESTION, asking(arguments=json.dumps(values))], "high")


def test_both_templates_are_saved_with_the_tokenizer(tokenizer: Any, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.chat_template == tokenizer.chat_template == chat_template()
    assert loaded.response_template == RESPONSE_TEMPLATE
    assert rendered(loaded, [QUESTION, asking()]) == rendered(tokenizer, [QUESTION, asking()])


class WithTools:
    """A tokenizer as one conversation's settings use it."""

    def __init__(self, tokenizer: Any, **options: Any) -> None:
        self.tokenizer, self.options = tokenizer, options

    def apply_chat_template(self, messages: Any, **options: Any) -> Any:
        return self.tokenizer.apply_chat_template(messages, **options, **self.options)


def test_trl_accepts_the_template(tokenizer: Any) -> None:
    assert trl_chat.supports_tool_calling(tokenizer)
    assert trl_chat.has_generation_markers(tokenizer.chat_template)
    assert trl_chat.is_chat_template_stop_token_trained(tokenizer)
    preserves: Any = trl_chat.is_chat_template_prefix_preserving
    assert preserves(WithTools(tokenizer, tools=[TOOL]))
    assert preserves(WithTools(tokenizer, thinking=False))
    # Without tools the format drops the reasoning that a result follows; TRL asks without tools, so it needs this
    assert not preserves(tokenizer)
    keeping = make_tokenizer()
    install(keeping, drop_thinking=False)
    assert preserves(keeping)
    conversation = [QUESTION, asking() | {"reasoning": "r"}, {"role": "tool", "content": "4"}]
    assert rendered(keeping, conversation, tools=[TOOL]) == rendered(tokenizer, conversation, tools=[TOOL])
    assert rendered(keeping, conversation, drop_thinking=True) == render(conversation, "high")


def test_the_end_of_a_turn_is_trained(tokenizer: Any) -> None:
    messages = [QUESTION, {"role": "assistant", "content": "4", "reasoning": "r"}]
    found = tokenizer.apply_chat_template(messages, return_assistant_tokens_mask=True, return_dict=True)
    masked = [i for i, mask in zip(found["input_ids"], found["assistant_masks"], strict=True) if mask]
    assert tokenizer.decode(masked) == f"r</think>4{EOS}"


def read(tokenizer: Any, completion: str, mode: Mode, **options: Any) -> dict[str, Any]:
    """As TRL's GRPO reads a completion: from ids, with the prompt's."""
    prompt = tokenizer(render([QUESTION], mode), add_special_tokens=False)["input_ids"]
    ids = tokenizer(completion, add_special_tokens=False)["input_ids"]
    return trl_chat.parse_response(tokenizer, ids, prefix=prompt, **options)


def written(message: dict[str, Any], mode: Mode) -> str:
    return "".join(part.text for part in segments([QUESTION, message], mode) if part.generated)


VALUES = {"text": "7", "int": 7, "null": None, "list": ["a</b>", {"k": True}], "empty": "", "lines": ' true">x\n\n"y" '}
CALLS = [call("f", VALUES), call("no arguments"), call("g", {"": "\u00fc\U0001f642"})]


@pytest.mark.parametrize("mode", ["non_think", "high"])
@pytest.mark.parametrize("content", ["", "4", " two\n\nlines \n"])
@pytest.mark.parametrize("calls", [[], CALLS[:1], CALLS])
def test_trl_reads_what_is_written(tokenizer: Any, mode: Mode, content: str, calls: list[Any]) -> None:
    message = {"role": "assistant", "content": content, "reasoning_content": " why\n\nnot ", "tool_calls": calls}
    expected = {key: value for key, value in message.items() if value or key == "content"}
    if mode == "non_think":
        del expected["reasoning_content"]
    assert read(tokenizer, written(message, mode), mode) == expected


def test_what_is_read_can_be_rendered_again(tokenizer: Any) -> None:
    completion = written({"role": "assistant", "content": "4", "reasoning": "r", "tool_calls": CALLS}, "high")
    assert written(read(tokenizer, completion, "high"), "high") == completion


def test_the_response_template_agrees_with_the_parser(
    tokenizer: Any, conversations: Callable[[int, int], list[Any]]
) -> None:
    compared = 0
    for messages, mode, _ in conversations(150, 1):
        for message in messages:
            if message["role"] != "assistant" or message.get("wo_eos") or message.get("task"):
                continue
            completion = written(message, mode)
            official, found = parse(completion, mode), read(tokenizer, completion, mode)
            assert found["content"] == official["content"]
            assert found.get("reasoning_content", "") == official["reasoning"]
            assert found.get("tool_calls", []) == with_mappings([official])[0]["tool_calls"]
            compared += 1
    assert compared > 100


@pytest.mark.parametrize("cut", range(1, 8))
def test_a_broken_block_calls_nothing(tokenizer: Any, cut: int) -> None:
    """TRL would execute whatever is read; a call that is cut off must not be."""
    block = written(asking(arguments={"a": "b", "c": 1}), "non_think").removesuffix(EOS)
    broken = block[: block.rindex("\n")] if cut == 1 else block[: len(block) * cut // 8]
    assert "tool_calls" not in read(tokenizer, broken + EOS, "non_think")


@pytest.mark.parametrize(
    ("old", "new"),
    [("false", "maybe"), (">1<", ">one<"), ("</｜DSML｜invoke>\n", ""), ("invoke name", "x"), (EOS, f"tail{EOS}")],
)
def test_a_malformed_call_is_text(tokenizer: Any, old: str, new: str) -> None:
    block = written(asking(arguments={"c": 1}), "non_think")
    assert old in block
    assert "tool_calls" not in read(tokenizer, block.replace(old, new), "non_think")


def test_reasoning_that_is_never_closed_is_only_reasoning(tokenizer: Any) -> None:
    for text in ("on and on", "on" + written(asking(), "non_think").removesuffix(EOS)):
        expected = {"role": "assistant", "content": "", "reasoning_content": text}
        assert read(tokenizer, text, "high") == read(tokenizer, text + EOS, "high") == expected


def test_quick_instructions_are_read_as_content(tokenizer: Any) -> None:
    for task in ("action", "query"):
        prompt = render([QUESTION | {"task": task}], "high")
        assert tokenizer.parse_response(f"search{EOS}", prefix=prompt) == {"role": "assistant", "content": "search"}
