"""A record as a conversation, by the columns that it has.

    messages        OpenAI's {role, content, tool_calls, ..}, with `tools` beside it      chat, tool traces
    conversations   {from, value}, with `system` and `tools` beside it                    ShareGPT
    prompt          and completion: texts, or messages                                    TRL's
    instruction     with `input`, and output                                              Alpaca

Texts have other names in other files; those that are common are known, any other is told by `columns`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from polymath.chat.encode import Message, read_turns
from polymath.dataset.files import json_kind

Record = Mapping[str, Any]
Part = Literal["prompt", "completion", "system"]
PROMPTS = ("prompt", "question", "query", "input")
COMPLETIONS = ("completion", "response", "output", "answer", "chosen")
ROLES = {
    "system": "system", "developer": "system", "user": "user", "human": "user", "assistant": "assistant",
    "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant", "tool": "tool",
    "function": "tool", "observation": "tool", "function_response": "tool", "function_call": "call",
}  # fmt: skip
SURROGATE = re.compile("[\ud800-\udfff]")
REASONING = ("reasoning", "reasoning_content", "thinking")


@dataclass(frozen=True)
class Conversation:
    """Messages as `polymath.chat` reads them, the last one the assistant's, and the functions on offer."""

    messages: tuple[Message, ...]
    tools: tuple[Message, ...] = ()


def conversation(record: Record, columns: Mapping[Part, str]) -> Conversation:
    """Raises `ValueError` saying what of a record cannot be used, and what to do."""
    messages = [_message(place, own) for place, own in enumerate(_messages(record, columns))]
    if system := _text(record.get(columns.get("system", "system")), "system"):
        messages.insert(0, {"role": "system", "content": system})
    tools = tuple(_tool(own) for own in _listed(record.get("tools"), "tools"))
    if not messages or messages[-1]["role"] != "assistant":
        raise ValueError("it does not end with an assistant's message, so that there is nothing to learn")
    if not any(own["role"] == "user" for own in messages):
        raise ValueError("it has no user's message, and so nothing is asked")
    _check_results(messages)
    _check_calls(messages, tools)
    last = messages[-1]
    if not last["content"].strip() and not last["tool_calls"]:
        raise ValueError("the last answer is empty")
    read_turns(messages, tools)
    return Conversation(tuple(messages), tools)


def read_columns(record: Record, columns: Mapping[Part, str]) -> set[str]:
    """The columns of a record that `conversation` reads."""
    read = {"tools", columns.get("system", "system")}
    for name in ("messages", "conversations"):
        if name in record and not columns:
            return read | {name}
    prompt = _column(record, columns, "prompt")
    return read | {prompt, _column(record, columns, "completion")} | ({"input"} if prompt == "instruction" else set())


def _check_results(messages: Sequence[Message]) -> None:
    """Whatever a tool says answers a call, and the one that it names where it names one."""
    open_calls, named = 0, set[str]()
    for place, own in enumerate(messages):
        calls = own.get("tool_calls") or ()
        open_calls += len(calls)
        named |= {call["id"] for call in calls if call["id"]}
        if own["role"] == "tool":
            open_calls -= 1
            asked = own.get("tool_call_id")
            if asked and named and str(asked) not in named:
                raise ValueError(f"message {place} answers the call {asked!r}, which no message before it makes")
        if open_calls < 0:
            raise ValueError(f"message {place} is what a tool said, and no call before it asks for that")


def _check_calls(messages: Sequence[Message], tools: Sequence[Message]) -> None:
    """Where functions are on offer, no other one is called."""
    known = {tool["function"]["name"] for tool in tools}
    for place, own in enumerate(messages):
        for call in own.get("tool_calls") or ():
            if known and (name := call["function"]["name"]) not in known:
                raise ValueError(f"message {place} calls {name}, and tools offer {', '.join(sorted(known))}")


def _messages(record: Record, columns: Mapping[Part, str]) -> list[Any]:
    """What is said in a record, in whichever layout it is."""
    for name in ("messages", "conversations"):
        if name in record and not columns:
            if said := _listed(record[name], name):
                return said
            raise ValueError(f"{name} is empty")
    prompt, completion = _column(record, columns, "prompt"), _column(record, columns, "completion")
    for name in (prompt, completion):
        if not isinstance(record[name], str | list):
            kind = json_kind(record[name])
            raise ValueError(f"{name} is {kind}, and a text is needed: put it into quotes, or cast the column to text")
    asked = [record[prompt]]
    if prompt == "instruction" and (more := record.get("input")):
        asked.append(more)
    if isinstance(record[prompt], str):
        before: list[Any] = [{"role": "user", "content": "\n\n".join(_text(own, prompt) for own in asked)}]
    else:
        before = _listed(record[prompt], prompt)
    said = record[completion]
    return before + ([{"role": "assistant", "content": said}] if isinstance(said, str) else _listed(said, completion))


def _column(record: Record, columns: Mapping[Part, str], role: Literal["prompt", "completion"]) -> str:
    known = (columns[role],) if role in columns else ("instruction", *PROMPTS) if role == "prompt" else COMPLETIONS
    found = next((name for name in known if record.get(name) not in (None, "", [])), None)
    if found is None:
        empty = [name for name in known if name in record]
        if empty:
            raise ValueError(f"{empty[0]} is empty")
        there = ", ".join(map(str, record))
        if role in columns:
            raise ValueError(f"there is no column {columns[role]!r}; its columns are {there}")
        raise ValueError(
            f"none of its columns ({there}) is the {role}: name it, as columns.{role} in a recipe or with "
            f"--column {role}=NAME"
        )
    return found


def _message(place: int, given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise ValueError(f"message {place} is {json_kind(given)} and no object")
    named = given.get("role", given.get("from"))
    role = ROLES.get(str(named).lower())
    if role is None:
        raise ValueError(f"message {place} has the role {named!r}; known are {', '.join(ROLES)}")
    content = given.get("content", given.get("value"))
    where = f"message {place}"
    if role == "call":
        return {
            "role": "assistant",
            "content": "",
            "reasoning": "",
            "tool_calls": _calls(_loaded(content, where), where),
        }
    out: dict[str, Any] = {"role": role, "content": _text(content, where)}
    if role == "assistant":
        reasoning = next((given[name] for name in REASONING if given.get(name)), "")
        out |= {"reasoning": _text(reasoning, where), "tool_calls": _calls(given.get("tool_calls"), where)}
    elif role == "tool" and given.get("tool_call_id"):
        out["tool_call_id"] = given["tool_call_id"]
    return out


def _text(given: Any, where: str) -> str:
    """A message's text, whether it is one or comes in parts."""
    if given is None:
        return ""
    if isinstance(given, list):
        other = next((own for own in given if not isinstance(own, dict) or own.get("type") != "text"), None)
        if other is not None:
            kind = other.get("type") if isinstance(other, dict) else json_kind(other)
            raise ValueError(f"{where} holds a part of type {kind!r}, and only text can be read")
        return "".join(_text(own.get("text"), where) for own in given)
    if not isinstance(given, str):
        raise ValueError(f"{where} is {json_kind(given)} and no text")
    if SURROGATE.search(given):
        raise ValueError(f"{where} holds half of a character (a lone surrogate)")
    return given


def _listed(given: Any, name: str) -> list[Any]:
    """A list, also where a file could hold it as text alone."""
    given = _loaded(given, name) if isinstance(given, str) and given.strip() else given
    if given in (None, ""):
        return []
    if not isinstance(given, list):
        raise ValueError(f"{name} is {json_kind(given)} and no list")
    return given


def _loaded(given: Any, where: str) -> Any:
    try:
        return json.loads(given) if isinstance(given, str) else given
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is a text and no JSON") from error


def _calls(given: Any, where: str) -> list[dict[str, Any]]:
    calls = given if isinstance(given, Sequence) and not isinstance(given, str) else [given] if given else []
    return [_call(own, where) for own in calls]


def _call(given: Any, where: str) -> dict[str, Any]:
    function = given.get("function", given) if isinstance(given, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"].strip():
        raise ValueError(f"{where} makes a call without a name")
    name = function["name"]
    arguments = _loaded(
        function.get("arguments", function.get("parameters")) or {}, f"{where}: what {name} is called with"
    )
    if not isinstance(arguments, dict):
        raise ValueError(f"{where} calls {name} with {json_kind(arguments)} and no object")
    inner = {"name": name, "arguments": arguments}
    return {"type": "function", "id": str(given.get("id") or ""), "function": inner}


def _tool(given: Any) -> dict[str, Any]:
    function = given.get("function", given) if isinstance(given, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"].strip():
        raise ValueError("tools hold a function without a name")
    return {"type": "function", "function": function}
