"""A completion, taken apart: reasoning, content, calls.

    completion := [reasoning "</think>"] content ["\\n\\n" block] EOS        the brackets' first part in thinking modes
    block      := "<DSML tool_calls>\\n" (invoke "\\n")+ "</DSML tool_calls>"
    invoke     := '<DSML invoke name="NAME">\\n' (parameter "\\n")* "</DSML invoke>"
    parameter  := '<DSML parameter name="KEY" string="true|false">' VALUE "</DSML parameter>"

There is one reader. What it finds wrong is a fault: strict reading raises the first that the official parser refuses,
tolerant reading collects all of them and goes on with what can be read. It passes over the text once.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from polymath.chat.dsml import TYPE, V4, V41, Dialect
from polymath.chat.tokens import ALL_TOKENS, BOS, DSML, END_THINK, EOS, MODES, THINK, Mode

REFUSED_IN_TEXT = (BOS, EOS, THINK, END_THINK, DSML)  # by the official parser; the format's other tokens are faults
DIALECTS = {dialect.opening: dialect for dialect in (V4, V41)}
OPENINGS = tuple(DIALECTS)
NAME = re.compile(r'\s*name="(.*)">\n\n?', re.DOTALL)


@dataclass(frozen=True)
class Fault:
    """Something that breaks the format; `at` is its place in the text, in characters."""

    at: int
    message: str

    def __str__(self) -> str:
        return f"at character {self.at}: {self.message}"


class ParseError(ValueError):
    """A completion that the official parser refuses."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


def parse(text: str, mode: Mode, *, strict: bool = True, eos_token: str = EOS) -> dict[str, Any]:
    """The assistant's message in a completion, which begins after the prompt's header.

    The result is `{"role", "content", "reasoning", "tool_calls"}` as OpenAI has them, `arguments` being a JSON text.
    Strict reading accepts what the official parser accepts, with its leniences, and V4.1's tags as well; it raises
    `ParseError`, which says where. Tolerant reading raises nothing and adds `faults`, a list of `Fault`: empty for a
    completion that keeps to the format in everything, also where the official parser would look away (arguments that
    are no JSON, a block that is cut off, tokens of the format in the text, an end that is missing after calls).
    """
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}; choose one of {', '.join(MODES)}")
    if not isinstance(text, str) or not eos_token:
        raise TypeError(
            f"a completion and its end-of-turn token are text, and these are {text!r:.40} and {eos_token!r}"
        )
    reader = _Reader(text, eos_token, strict=strict)
    message = reader.message(thinks=mode != "non_think")
    return message if strict else message | {"faults": reader.faults}


class _Reader:
    """A place in a text that only moves forward."""

    def __init__(self, text: str, eos_token: str, *, strict: bool) -> None:
        self.text, self.at, self.eos, self.strict = text, 0, eos_token, strict
        self.faults: list[Fault] = []

    def fault(self, message: str, at: int | None = None, *, lenient: bool = False) -> None:
        """Note a fault; `lenient` where the official parser lets it pass."""
        fault = Fault(self.at if at is None else at, message)
        if self.strict and not lenient:
            raise ParseError(fault)
        self.faults.append(fault)

    def until(self, *stops: str) -> tuple[str, str | None]:
        """The text up to the nearest of `stops`, and which it was; the place is then behind it."""
        found = _any_of(stops).search(self.text, self.at)
        start, self.at = self.at, found.end() if found else len(self.text)
        return self.text[start : found.start() if found else len(self.text)], found.group() if found else None

    def message(self, *, thinks: bool) -> dict[str, Any]:
        reasoning, content, calls, stop = "", "", [], None
        if thinks:
            reasoning, stop = self.reasoning()
        if not thinks or stop == END_THINK:
            content, stop = self.content()
        if stop in DIALECTS:
            calls = self.calls(DIALECTS[stop])
            self.end()
        if self.at < len(self.text):
            self.fault("something follows the end of the turn")
        return {"role": "assistant", "content": content, "reasoning": reasoning, "tool_calls": calls}

    def reasoning(self) -> tuple[str, str | None]:
        start = self.at
        text, stop = self.until(END_THINK, *OPENINGS)
        if stop is None:
            self.fault("the reasoning is never closed by </think>")
            text = text.removesuffix(self.eos)
        elif stop != END_THINK:
            self.fault("calls begin before the reasoning is closed by </think>", self.at - len(stop))
        self.check_tokens(text, start, "reasoning")
        return text, stop

    def content(self) -> tuple[str, str | None]:
        start = self.at
        text, stop = self.until(self.eos, *OPENINGS)
        if stop is None:
            self.fault("the turn has no end-of-turn token (cut off at the token limit?)")
        self.check_tokens(text, start, "content")
        return text, stop

    def check_tokens(self, text: str, start: int, what: str) -> None:
        for found in _any_of((*ALL_TOKENS, self.eos)).finditer(text):
            lenient = found.group() not in (*REFUSED_IN_TEXT, self.eos) or what == "call"
            self.fault(
                f"the {what} holds {found.group()}, a token of the format", start + found.start(), lenient=lenient
            )

    def calls(self, dialect: Dialect) -> list[dict[str, Any]]:
        """The calls of a block whose `<DSML tool_calls` has just been read."""
        invoke, close = f"<{DSML}{dialect.invoke}", f"</{DSML}{dialect.block}>"
        calls = []
        while True:
            start = self.at
            between, stop = self.until(invoke, close)
            if stop is None:
                # The official parser takes a text for whole that ends where a call or the block's first tag ends
                self.fault("the block of calls is never closed", lenient=not between)
                return calls
            if between != ">\n":
                self.fault(f"calls are parted by '>' and a line break, not by {between!r:.40}", start)
            if stop == close:
                if not calls:
                    self.fault("the block holds no call", start, lenient=True)
                return calls
            if call := self.call(dialect):
                calls.append(call)

    def call(self, dialect: Dialect) -> dict[str, Any] | None:
        """One call whose `<DSML invoke` has just been read; None where it has no name."""
        parameter, close = f"<{DSML}{dialect.parameter}", f"</{DSML}{dialect.invoke}"
        start = self.at
        head, stop = self.until(parameter, close)
        named = NAME.fullmatch(head)
        if named is None:
            self.fault(f"a call begins with ' name=\"...\">' and a line break, not with {head!r:.60}", start)
        self.check_tokens(head, start, "call")
        arguments: dict[str, str] = {}
        while stop == parameter:
            self.parameter(dialect, arguments)
            start = self.at
            between, stop = self.until(parameter, close)
            if between != ">\n":
                self.fault(f"parameters are parted by '>' and a line break, not by {between!r:.40}", start)
        if stop is None:
            self.fault("the call is never closed", lenient=True)
        if named is None:
            return None
        joined = ", ".join(f"{_json(key)}: {value}" for key, value in arguments.items())
        return {"type": "function", "function": {"name": named.group(1), "arguments": f"{{{joined}}}"}}

    def parameter(self, dialect: Dialect, arguments: dict[str, str]) -> None:
        """One parameter whose `<DSML parameter` has just been read, put into `arguments` as JSON."""
        start = self.at
        body, stop = self.until(f"/{DSML}{dialect.parameter}")
        body = body.removesuffix("\n") if body.endswith("<\n") else body
        kind = TYPE.search(body, len(' name="'))
        if not body.startswith(' name="') or kind is None or not body.endswith("<"):
            self.fault('a parameter is \' name="..." string="true|false">\', its value, and the closing tag', start)
            return
        key, value = body[len(' name="') : kind.start()], body[kind.end() : -1]
        if stop is None:
            self.fault("the parameter is never closed", start)
        if key in arguments:
            self.fault(f"the parameter {key!r} is given twice", start)
            return
        self.check_tokens(body, start, "call")
        arguments[key] = _json(value) if kind.group(1) == "true" else self.checked_json(value, start + kind.end())

    def checked_json(self, value: str, at: int) -> str:
        """A value that is to be JSON; tolerant reading takes what is not for a string."""
        try:
            json.loads(value, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            self.fault(f'a value marked string="false" is no JSON ({error})', at, lenient=True)
            return value if self.strict else _json(value)
        return value

    def end(self) -> None:
        """The end of the turn after a block."""
        start = self.at
        rest, stop = self.until(self.eos)
        if rest:
            self.fault("something follows the calls", start)
        if stop is None:
            self.fault("the turn has no end-of-turn token after its calls", lenient=True)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _json(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


_PATTERNS: dict[tuple[str, ...], re.Pattern[str]] = {}


def _any_of(stops: tuple[str, ...]) -> re.Pattern[str]:
    if stops not in _PATTERNS:
        _PATTERNS[stops] = re.compile("|".join(map(re.escape, stops)))
    return _PATTERNS[stops]
