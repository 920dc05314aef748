"""How a conversation becomes text for one model: in the V4 format, or in the model's own with the same inside."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal, Protocol

from jinja2 import TemplateError

from polymath.chat.dsml import V4, render_calls
from polymath.chat.encode import Message, Segment, Turn, read_turns, segments, tool_results
from polymath.chat.tokens import ALL_TOKENS, END_THINK, EOS, MAX_EFFORT, THINK, UNTELLABLE, Mode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FormatKind = Literal["v4", "native"]
MARK = "\u0001"  # stands for an answer where a template is asked what surrounds one


class Format(Protocol):
    """What the rest of Polymath asks of a format."""

    @property
    def eos_token(self) -> str:
        """What ends the model's turn."""
        ...

    def conversation(self, messages: Sequence[Message], mode: Mode, tools: Sequence[Message]) -> list[Segment]:
        """The conversation's text, up to where the model is to write if the last message is not its own."""
        ...

    def results(self, results: Sequence[str], mode: Mode) -> str:
        """What is put behind a turn of calls: their results, and the header of the next turn."""
        ...


@dataclass(frozen=True)
class V4Format:
    """The format of the report, on a vocabulary that has its tokens."""

    eos_token: str = EOS

    def conversation(self, messages: Sequence[Message], mode: Mode, tools: Sequence[Message]) -> list[Segment]:
        return segments(messages, mode, tools=tools)

    def results(self, results: Sequence[str], mode: Mode) -> str:
        return tool_results(results, mode)


@dataclass(frozen=True)
class NativeFormat:
    """A model's own chat template around each turn; think tags, tools and calls are V4's, as plain text.

    A template that knows `enable_thinking` is told the mode, and a tag that it writes itself is not written twice.
    """

    tokenizer: "PreTrainedTokenizerBase"

    @property
    def eos_token(self) -> str:
        return str(self.tokenizer.eos_token)

    def conversation(self, messages: Sequence[Message], mode: Mode, tools: Sequence[Message]) -> list[Segment]:
        turns = read_turns(messages, tools)
        if not turns or turns[0].role == "assistant":
            raise ValueError("messages: a conversation in a model's own template begins with a system or user message")
        out: list[Segment] = []
        for answers, own in groupby(turns, key=lambda turn: turn.role == "assistant"):
            if answers:
                out += [Segment(self._answer(turn, mode), generated=True) for turn in own]
            elif not out:
                out.append(Segment(self._opening(list(own), mode)))
            else:
                out.append(Segment(self._between("\n\n".join(self._checked(turn.given()) for turn in own), mode)))
        return out

    def results(self, results: Sequence[str], mode: Mode) -> str:
        told = (UNTELLABLE if self._token_in(result) else result for result in results)
        return self._between("\n\n".join(f"<tool_result>{result}</tool_result>" for result in told), mode)

    def _opening(self, turns: Sequence[Turn], mode: Mode) -> str:
        texts = [("system" if t.role == "system" else "user", self._checked(t.given())) for t in turns]
        system = "\n\n".join(text for role, text in texts if role == "system")
        asked = "\n\n".join(text for role, text in texts if role == "user")
        system = MAX_EFFORT + system if mode == "max" else system
        if not system:
            return self._header([{"role": "user", "content": asked}], mode)
        try:
            return self._header([{"role": "system", "content": system}, {"role": "user", "content": asked}], mode)
        except TemplateError:  # some templates have no system role; what it says then stands before the question
            return self._header([{"role": "user", "content": f"{system}\n\n{asked}"}], mode)

    def _token_in(self, text: str) -> str | None:
        """One of the tokenizer's own special tokens that stands in a text."""
        return next((token for token in self.tokenizer.all_special_tokens if token in text), None)

    def _checked(self, text: str) -> str:
        if token := self._token_in(text):
            raise ValueError(
                f"messages hold {token}, a token of the model's own template, which has no way to escape it"
            )
        return text

    def _answer(self, turn: Turn, mode: Mode) -> str:
        reasoning = "" if mode == "non_think" else turn.reasoning + END_THINK
        return reasoning + turn.text + render_calls(turn.calls, V4) + self.eos_token

    def _between(self, text: str, mode: Mode) -> str:
        """What the template puts from one answer's end to where the next begins."""
        around = [{"role": "user", "content": "?"}, {"role": "assistant", "content": MARK}]
        header = self._header([*around, {"role": "user", "content": text}], mode)
        if MARK not in header:
            raise ValueError("chat: native needs a template that repeats earlier answers, and this one drops them")
        return header.partition(MARK)[2].removeprefix(self.eos_token)

    def _header(self, messages: list[dict[str, str]], mode: Mode) -> str:
        options: dict[str, Any] = {"tokenize": False, "add_generation_prompt": True}
        text = str(self.tokenizer.apply_chat_template(messages, enable_thinking=mode != "non_think", **options))
        written = text.rstrip()
        opened = text if written.endswith(THINK) else text + THINK
        if mode != "non_think":
            return opened
        return text if written.endswith(END_THINK) else opened + END_THINK


def format_for(kind: FormatKind, tokenizer: "PreTrainedTokenizerBase") -> Format:
    """The format that a recipe asks for; raises `ValueError` where the tokenizer has no such tokens or template."""
    if kind == "native":
        if not tokenizer.chat_template:
            raise ValueError("chat: native needs a tokenizer with a chat template, and this one has none; set chat: v4")
        return NativeFormat(tokenizer)
    known = tokenizer.get_vocab()
    if missing := [token for token in ALL_TOKENS if token not in known]:
        raise ValueError(f"chat: v4 needs tokens which this vocabulary lacks ({' '.join(missing)}); set chat: native")
    if tokenizer.eos_token != EOS:
        raise ValueError(f"chat: v4 ends a turn with {EOS}, and this tokenizer with {tokenizer.eos_token}")
    return V4Format()
