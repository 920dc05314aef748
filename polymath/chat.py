"""Conversations as text: what a model of the V4 family reads and writes.

The format is the one of the DeepSeek-V4 report (section 5.1.1, tables 2 to 4): the header that ends a prompt opens the
reasoning (`<think>`, mode `high`) or closes it unopened (`</think>`, mode `non_think`), and tools are called in DSML.
"""

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Mode = Literal["non_think", "high"]
MODES: tuple[Mode, ...] = ("non_think", "high")

BOS, EOS, PAD = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"
USER, ASSISTANT = "<｜User｜>", "<｜Assistant｜>"
THINK, END_THINK = "<think>", "</think>"
DSML = "｜DSML｜"
SPECIAL_TOKENS = (PAD, BOS, EOS)
TEXT_TOKENS = (USER, ASSISTANT, THINK, END_THINK, DSML)  # in the vocabulary, yet kept when special tokens are skipped

HEADER_END = {"non_think": END_THINK, "high": THINK}
CALLS_OPEN, CALLS_CLOSE = f"\n\n<{DSML}tool_calls>\n", f"\n</{DSML}tool_calls>"
INVOKE = re.compile(rf'<{DSML}invoke name="([^"]+)">\n(.*?)\n</{DSML}invoke>', re.DOTALL)
PARAMETER = re.compile(rf'<{DSML}parameter name="([^"]+)" string="(true|false)">(.*?)</{DSML}parameter>', re.DOTALL)


@dataclass(frozen=True)
class ToolCall:
    """One call: the tool's name and its arguments, typed as JSON types them."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """An assistant's turn, taken apart."""

    content: str
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = field(default=())


class Template(Protocol):
    """How a conversation of one question becomes text for one family of models."""

    @property
    def eos_token(self) -> str:
        """What ends the model's turn."""
        ...

    def prompt(self, question: str, mode: Mode) -> str:
        """All that precedes the tokens which the model writes."""
        ...

    def completion(self, reply: Reply, mode: Mode) -> str:
        """The tokens which the model writes, the end of the turn included."""
        ...


@dataclass(frozen=True)
class V4Template:
    """The format of the report, on a vocabulary that has its tokens."""

    @property
    def eos_token(self) -> str:
        return EOS

    def prompt(self, question: str, mode: Mode) -> str:
        return f"{BOS}{USER}{question}{ASSISTANT}{HEADER_END[mode]}"

    def completion(self, reply: Reply, mode: Mode) -> str:
        return render_reply(reply, mode) + self.eos_token


@dataclass(frozen=True)
class NativeTemplate:
    """A model's own chat template; the think tags are plain text after its header."""

    tokenizer: "PreTrainedTokenizerBase"

    @property
    def eos_token(self) -> str:
        return str(self.tokenizer.eos_token)

    def prompt(self, question: str, mode: Mode) -> str:
        messages = [{"role": "user", "content": question}]
        header = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return f"{header}{THINK if mode == 'high' else THINK + END_THINK}"

    def completion(self, reply: Reply, mode: Mode) -> str:
        return render_reply(reply, mode) + self.eos_token


def template_for(kind: Literal["v4", "native"], tokenizer: "PreTrainedTokenizerBase") -> Template:
    """The template that a recipe asks for; raises `ValueError` where the tokenizer has no such tokens or template."""
    if kind == "native":
        if not tokenizer.chat_template:
            raise ValueError("chat: native needs a tokenizer with a chat template, and this one has none")
        return NativeTemplate(tokenizer)
    vocabulary = tokenizer.get_vocab()
    if missing := [token for token in (*SPECIAL_TOKENS, *TEXT_TOKENS) if token not in vocabulary]:
        raise ValueError(f"chat: v4 needs tokens which this vocabulary lacks ({' '.join(missing)}); set chat: native")
    return V4Template()


def render_reply(reply: Reply, mode: Mode) -> str:
    """The text of an assistant's turn after its header, without the end-of-turn token."""
    reasoning = f"{reply.reasoning}{END_THINK}" if mode == "high" else ""
    return reasoning + reply.content + render_calls(reply.tool_calls)


def render_calls(calls: tuple[ToolCall, ...]) -> str:
    """A DSML block (report, table 4): strings are raw, every other value is JSON."""
    if not calls:
        return ""
    return CALLS_OPEN + "\n".join(_render_call(call) for call in calls) + CALLS_CLOSE


def _render_call(call: ToolCall) -> str:
    parameters = "\n".join(_render_parameter(name, value) for name, value in call.arguments.items())
    return f'<{DSML}invoke name="{call.name}">\n{parameters}\n</{DSML}invoke>'


def _render_parameter(name: str, value: Any) -> str:
    is_string = isinstance(value, str)
    text = value if is_string else json.dumps(value, ensure_ascii=False)
    return f'<{DSML}parameter name="{name}" string="{str(is_string).lower()}">{text}</{DSML}parameter>'


def parse_reply(text: str, mode: Mode, eos_token: str = EOS) -> Reply:
    """The inverse of `Template.completion`, strict as the official parser is.

    Raises `ValueError` where the turn has no end, where the reasoning is not closed exactly once, or where a DSML
    block is anything but whole calls followed by the end of the turn.
    """
    if not text.endswith(eos_token):
        raise ValueError("the turn has no end-of-turn token (cut off at the token limit?)")
    body = text.removesuffix(eos_token)
    reasoning, body = _split_reasoning(body) if mode == "high" else ("", body)
    if any(token in body for token in (THINK, END_THINK, USER, ASSISTANT, *SPECIAL_TOKENS, eos_token)):
        raise ValueError("the answer contains a token of the conversation format")
    content, opened, block = body.partition(CALLS_OPEN)
    if not opened and DSML in body:
        raise ValueError("a DSML tag stands outside a tool_calls block")
    return Reply(content, reasoning, _parse_calls(block) if opened else ())


def _split_reasoning(body: str) -> tuple[str, str]:
    reasoning, closed, rest = body.partition(END_THINK)
    if not closed:
        raise ValueError("the reasoning is never closed by </think>")
    if THINK in reasoning:
        raise ValueError("the reasoning opens <think> again")
    return reasoning, rest


def _parse_calls(block: str) -> tuple[ToolCall, ...]:
    if not block.endswith(CALLS_CLOSE):
        raise ValueError("the tool_calls block does not end the turn")
    inside = block.removesuffix(CALLS_CLOSE)
    calls = [_parse_call(name, body) for name, body in INVOKE.findall(inside)]
    if render_calls(tuple(calls)) != CALLS_OPEN + block:
        raise ValueError("the tool_calls block holds more than whole calls in DSML")
    return tuple(calls)


def _parse_call(name: str, body: str) -> ToolCall:
    pairs = [(key, value if string == "true" else json.loads(value)) for key, string, value in PARAMETER.findall(body)]
    arguments = dict(pairs)
    if len(arguments) != len(pairs):
        raise ValueError(f"the call of {name} repeats a parameter")
    return ToolCall(name, arguments)
