"""Conversations as the text that a model of the V4 family reads, byte for byte that of the official encoder.

    BOS [Max paragraph] system [tools] [response format]
    User text Assistant <think>          the header, which ends the prompt; </think> in Non-think
    reasoning </think> text [calls] EOS  what the model writes
    User <tool_result>..</tool_result>   results have no role of their own; those of one turn stand in the calls' order

The format escapes nothing. A message that holds one of its tokens would be read as something else, and is refused.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from polymath.chat.dsml import V4, Call, render_calls
from polymath.chat.tokens import (
    ASSISTANT,
    BOS,
    END_THINK,
    EOS,
    MAX_EFFORT,
    MODES,
    REMINDER,
    RESPONSE_FORMAT,
    TASKS,
    THINK,
    TOOLS_AFTER,
    TOOLS_BEFORE,
    USER,
    Mode,
    first_token,
)

Message = Mapping[str, Any]
KEPT_ROLES = ("user", "system", "latest_reminder")  # kept whole where earlier reasoning is dropped
ASKING_ROLES = ("user", "developer")


@dataclass(frozen=True)
class Segment:
    """A stretch of a conversation's text; `generated` where the model itself writes it."""

    text: str
    generated: bool = False


@dataclass(frozen=True)
class Part:
    """What stands in a user's turn: text, or the result of the call `call_id`."""

    text: str
    call_id: str | None = None


@dataclass(frozen=True)
class Turn:
    """One message as it is rendered; the results of tools stand in a user's turn."""

    role: str
    text: str = ""
    parts: tuple[Part, ...] = ()  # of a user's turn
    reasoning: str = ""
    calls: tuple[Call, ...] = ()
    call_ids: tuple[str, ...] = ()
    task: str | None = None
    has_tools: bool = False
    open_ended: bool = False

    def given(self) -> str:
        """What a turn that the model does not write tells it."""
        parts = (
            part.text if part.call_id is None else f"<tool_result>{part.text}</tool_result>" for part in self.parts
        )
        return "\n\n".join(parts) if self.role == "user" else self.text


def render(
    messages: Sequence[Message],
    mode: Mode,
    *,
    tools: Sequence[Any] | None = None,
    drop_thinking: bool = True,
    add_generation_prompt: bool = True,
) -> str:
    """The text of a conversation in one think mode.

    `messages` are OpenAI's (roles system, user, assistant, tool), and the family's own: `developer`,
    `latest_reminder`, a `task` (quick instruction) on a message, `response_format` and `tools` on a system or
    developer message, `wo_eos` on an answer that goes on. `reasoning` and `reasoning_content` mean the same. `tools`,
    as OpenAI describes them or Python functions with type hints and a docstring, are put on the first system message,
    which is made where there is none. Reasoning before the last question is dropped unless the conversation has tools
    or `drop_thinking` is off. Source: report, section 5.1.1.

    Raises `ValueError` naming message, field and remedy where something cannot be rendered so that it reads back.
    """
    return "".join(
        segment.text
        for segment in segments(
            messages, mode, tools=tools, drop_thinking=drop_thinking, add_generation_prompt=add_generation_prompt
        )
    )


def segments(
    messages: Sequence[Message],
    mode: Mode,
    *,
    tools: Sequence[Message] | None = None,
    drop_thinking: bool = True,
    add_generation_prompt: bool = True,
) -> list[Segment]:
    """As `render`, apart into what the model writes and what it is given: the mask of training."""
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}; choose one of {', '.join(MODES)}")
    turns = read_turns(messages, tools)
    keeps = mode != "non_think" and (not drop_thinking or any(turn.has_tools for turn in turns))
    if mode != "non_think" and not keeps:
        turns = _without_old_developers(turns)
    last_question = _last_question(turns)
    out = [Segment(BOS + MAX_EFFORT if mode == "max" and turns else BOS)]
    for index, turn in enumerate(turns):
        thinks = mode != "non_think" and (keeps or index >= last_question)
        after_task = index > 0 and turns[index - 1].task is not None
        out += _body(turn, thinks=thinks and not after_task)
        following = turns[index + 1].role if index + 1 < len(turns) else None
        if following in ("assistant", "latest_reminder") or (following is None and add_generation_prompt):
            out.append(Segment(_header(turn, mode, thinks=thinks)))
    return [segment for segment in out if segment.text]


def read_turns(messages: Sequence[Message], tools: Sequence[Message] | None = None) -> list[Turn]:
    """The conversation checked, with results in their calls' order and neighbouring user turns as one."""
    return _sorted_results(_merged(_read(index, message) for index, message in enumerate(_with_tools(messages, tools))))


def tool_results(results: Sequence[str], mode: Mode) -> str:
    """What follows a turn of calls: their results in the calls' order, and the header of the next turn."""
    for text in results:
        _check(text, "a tool's result")
    parts = tuple(Part(text, "") for text in results)
    turn = Turn("user", parts=parts)
    return "".join(s.text for s in _body(turn, thinks=False)) + _header(turn, mode, thinks=mode != "non_think")


def _body(turn: Turn, *, thinks: bool) -> list[Segment]:
    if turn.role == "assistant":
        reasoning = turn.reasoning + END_THINK if thinks else ""
        end = "" if turn.open_ended else EOS
        return [Segment(reasoning + turn.text + render_calls(turn.calls, V4) + end, generated=True)]
    opening = {"user": USER, "developer": USER, "latest_reminder": REMINDER}.get(turn.role, "")
    return [Segment(opening + turn.given())]


def _header(turn: Turn, mode: Mode, *, thinks: bool) -> str:
    """What stands between a turn and the model's answer to it."""
    if turn.task == "action":
        return ASSISTANT + (END_THINK if mode == "non_think" else THINK) + TASKS["action"]
    if turn.task is not None:
        return TASKS[turn.task]
    if turn.role in ASKING_ROLES:
        return ASSISTANT + (THINK if thinks else END_THINK)
    return ""


def _last_question(turns: Sequence[Turn]) -> int:
    return max((index for index, turn in enumerate(turns) if turn.role in ASKING_ROLES), default=-1)


def _without_old_developers(turns: Sequence[Turn]) -> list[Turn]:
    last = _last_question(turns)
    return [t for index, t in enumerate(turns) if index >= last or t.role in (*KEPT_ROLES, "assistant")]


def _merged(turns: Iterable[Turn]) -> list[Turn]:
    """Neighbouring user turns and results as one; as in the official encoder, a task on the later one is not kept."""
    out: list[Turn] = []
    for turn in turns:
        joins = turn.role == "user" and bool(out) and out[-1].role == "user"
        is_result = bool(turn.parts) and turn.parts[0].call_id is not None
        if joins and (is_result or out[-1].task is None):
            out[-1] = replace(out[-1], parts=out[-1].parts + turn.parts)
        else:
            out.append(turn)
    return out


def _sorted_results(turns: Sequence[Turn]) -> list[Turn]:
    """Results in the order of the calls that they answer; texts between them stay where they are."""
    out, order = [], {}
    for turn in turns:
        if turn.calls:
            order = {call_id: index for index, call_id in enumerate(turn.call_ids) if call_id}
        results = [part for part in turn.parts if part.call_id is not None]
        in_order = iter(sorted(results, key=lambda part: order.get(part.call_id or "", 0)))
        out.append(replace(turn, parts=tuple(part if part.call_id is None else next(in_order) for part in turn.parts)))
    return out


def _with_tools(messages: Sequence[Message], tools: Sequence[Message] | None) -> list[Message]:
    """The conversation with `tools` on its first system message."""
    if isinstance(messages, str | Mapping) or not isinstance(messages, Sequence):
        raise ValueError(f"messages is a list of messages, and this is {messages!r:.80}")
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise ValueError(f"messages[{index}]: a message is {{'role': ..., 'content': ...}}, not {message!r:.80}")
    if not tools:
        return list(messages)
    out: list[dict[str, Any]] = [dict(message) for message in messages]
    if not any(message.get("role") == "system" for message in out):
        out.insert(0, {"role": "system", "content": ""})
    system = next(message for message in out if message.get("role") == "system")
    if system.get("tools"):
        raise ValueError("tools are given twice, as an argument and on the system message: give them once")
    system["tools"] = tools
    return [*out]


def _read(index: int, message: Message) -> Turn:
    """One message, checked."""
    role, where = message.get("role"), f"messages[{index}]"
    for field in ("tools", "response_format"):
        if message.get(field) and role not in ("system", "developer"):
            raise ValueError(
                f"{where}.{field}: {field} belong on a system or developer message, and this one's role is {role!r}"
            )
    task = message.get("task")
    if task is not None and (not isinstance(task, str) or task not in TASKS):
        raise ValueError(f"{where}.task is {task!r}; choose one of {', '.join(TASKS)}")
    text = _text(message.get("content"), f"{where}.content")
    if role in ("system", "developer"):
        if role == "developer" and not text:
            raise ValueError(f"{where}.content: a developer message needs content")
        text += _tools_section(message.get("tools"), where) + _response_format(message.get("response_format"), where)
        return Turn(role, text, task=task, has_tools=bool(message.get("tools")))
    if role == "assistant":
        return _read_answer(message, text, where, task)
    if role in ("user", "tool"):
        call_id = str(message.get("tool_call_id") or "") if role == "tool" else None
        return Turn("user", parts=(Part(text, call_id),), task=task if role == "user" else None)
    if role == "latest_reminder":
        return Turn(role, text, task=task)
    raise ValueError(
        f"{where}.role is {role!r}; choose one of system, developer, user, assistant, tool, latest_reminder"
    )


def _read_answer(message: Message, text: str, where: str, task: str | None) -> Turn:
    reasoning = message.get("reasoning")
    if reasoning is None:
        reasoning = message.get("reasoning_content")
    calls, ids = [], []
    given = message.get("tool_calls") or ()
    if isinstance(given, str | Mapping) or not isinstance(given, Sequence):
        raise ValueError(f"{where}.tool_calls is a list of calls, and this is {given!r:.80}")
    for index, call in enumerate(given):
        calls.append(_read_call(call, f"{where}.tool_calls[{index}]"))
        ids.append(str(call.get("id") or call["function"].get("id") or ""))
    return Turn(
        role="assistant",
        text=text,
        reasoning=_text(reasoning, f"{where}.reasoning"),
        calls=tuple(calls),
        call_ids=tuple(ids),
        task=task,
        open_ended=bool(message.get("wo_eos")),
    )


def _read_call(call: Message, where: str) -> Call:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise ValueError(f"{where}: a call is {{'type': 'function', 'function': {{'name': ..., 'arguments': ...}}}}")
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):  # the official encoder's way with text that is no JSON
            arguments = {"arguments": arguments}
    if not isinstance(arguments, Mapping):
        raise ValueError(f"{where}.function.arguments: arguments are a JSON object, and these are {arguments!r}")
    read = Call(function["name"], dict(arguments))
    _check(read.name, f"{where}.function.name")
    for key, value in read.arguments.items():
        if not isinstance(key, str):
            raise ValueError(f"{where}.function.arguments: names of parameters are text, and one is {key!r}")
        _check(key, f"{where}.function.arguments: the name of a parameter")
        place = f"{where}.function.arguments[{key!r}]"
        _check(value if isinstance(value, str) else _json(value, place), place)
    if not read.survives():
        raise ValueError(f"{where}: the name {read.name!r} or one of its parameters' names would not be read back")
    return read


def _tools_section(tools: Sequence[Message] | None, where: str) -> str:
    if not tools:
        return ""
    if isinstance(tools, str | Mapping) or not isinstance(tools, Sequence):
        raise ValueError(f"{where}.tools is a list of tools, and this is {tools!r:.80}")
    schemas = "\n".join(_json(_function(tool, f"{where}.tools[{i}]"), f"{where}.tools") for i, tool in enumerate(tools))
    return TOOLS_BEFORE + _check(schemas, f"{where}.tools") + TOOLS_AFTER


def _function(tool: Any, where: str) -> Mapping[str, Any]:
    """A tool's schema: what OpenAI wraps into `function`, or that itself, or that of a Python function."""
    if callable(tool):
        from polymath.tools import tool_schema

        tool = tool_schema(tool)
    function = tool.get("function", tool) if isinstance(tool, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise ValueError(f"{where}: a tool is a function, or {{'type': 'function', 'function': {{'name': ..., ...}}}}")
    return function


def _response_format(schema: Any, where: str) -> str:
    place = f"{where}.response_format"
    return RESPONSE_FORMAT + _check(_json(schema, place), place) if schema else ""


def _json(value: Any, where: str) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{where} is no JSON: {error}") from error


def _text(content: Any, where: str) -> str:
    """A field's text; OpenAI's list of text parts is joined by blank lines."""
    if content is None:
        return ""
    if isinstance(content, str):
        return _check(content, where)
    if isinstance(content, Sequence) and all(isinstance(p, Mapping) and p.get("type") == "text" for p in content):
        return _check("\n\n".join(part.get("text") or "" for part in content), where)
    raise ValueError(f"{where}: content is text or a list of parts of type 'text', and this is {content!r:.80}")


def _check(text: str, where: str) -> str:
    if token := first_token(text):
        raise ValueError(
            f"{where} holds {token}, a token of the format, "
            "which has no way to escape it: remove it or write it otherwise"
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{where} holds {text[error.start]!r}, half of a character, which is no text") from error
    return text
