"""Whether the calls of a turn are the ones asked for.

The rules are those of the Berkeley leaderboard (`ast_checker.py` of bfcl-eval): each parameter has a list of accepted
values, and "" in that list means that the parameter may be left out. It differs on purpose in four places: calls are
matched to answers in every order, not greedily; whole numbers pass for fractions inside lists too; `true` never passes
for 1; and strings are compared leniently wherever they stand.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

JSON_TYPES: dict[str | None, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}
NUMBERS = JSON_TYPES["number"]
IGNORED = str.maketrans("'", '"', " ,./-_*^")  # "April 1, 2024" and "april 1 2024" are one date


def function_calls(turns: Sequence[Mapping[str, Any]], answer: str) -> float:
    """1.0 if the one turn makes exactly the calls of `answer`, in any order, else 0.0; text beside calls is free.

    `turns` are messages as `polymath.chat.parse` returns them. `answer` is JSON, a list of `{"name", "parameters":
    {name: {"type", "items", "required", "accepted"}}}`, where `type` and `items` are JSON types or null for any. An
    empty list asks for words and no call. A turn with format faults is worth nothing: a call that cannot be read would
    pass for none.
    """
    expected = json.loads(answer)
    if len(turns) != 1 or turns[0].get("faults"):
        return 0.0
    calls = turns[0].get("tool_calls") or []
    if not expected:
        return float(not calls and bool((turns[0].get("content") or "").strip()))
    if len(calls) != len(expected):
        return 0.0
    read = [_read(call["function"]) for call in calls]
    return float(_pairs([{place for place, call in enumerate(read) if _is(call, wanted)} for wanted in expected]))


def _read(function: Mapping[str, Any]) -> tuple[Any, Any]:
    """Name and arguments; None for arguments that are no JSON."""
    arguments = function.get("arguments")
    try:
        return function.get("name"), json.loads(arguments) if isinstance(arguments, str) else arguments
    except (ValueError, RecursionError):  # RecursionError: JSON nested thousands of levels deep
        return function.get("name"), None


def _pairs(choices: list[set[int]]) -> bool:
    """Whether every answer can have a call of its own; `choices` are the calls that fit each answer."""
    owner: dict[int, int] = {}  # call -> the answer that has it

    def finds(answer: int, tried: set[int]) -> bool:
        """Give an answer a call, if need be one whose answer can change to another (augmenting paths)."""
        for call in choices[answer] - tried:
            tried.add(call)
            if call not in owner or finds(owner[call], tried):
                owner[call] = answer
                return True
        return False

    return all(finds(answer, set()) for answer in range(len(choices)))


def _is(call: tuple[Any, Any], wanted: dict[str, Any]) -> bool:
    name, arguments = call
    parameters = wanted["parameters"]
    if name != wanted["name"] or not isinstance(arguments, dict) or not arguments.keys() <= parameters.keys():
        return False
    return all(
        _accepts(parameter, arguments[key]) if key in arguments else _may_lack(parameter)
        for key, parameter in parameters.items()
    )


def _may_lack(parameter: dict[str, Any]) -> bool:
    return not parameter["required"] and "" in parameter["accepted"]


def _accepts(parameter: dict[str, Any], value: Any) -> bool:
    kind, accepted = parameter["type"], parameter["accepted"]
    # Some answers are of another type than their parameter: null, or the name of a variable
    usual = next((option for option in accepted if option != ""), None)
    if kind and type(value) not in (*JSON_TYPES[kind], type(usual)):
        return False
    if kind == "array" and value == [] and "" in accepted:
        return True
    return any(_same(value, option, kind, parameter["items"]) for option in accepted)


def _same(value: Any, wanted: Any, kind: str | None = None, items: str | None = None) -> bool:
    """Whether a value is the wanted one; looks no deeper into it than `wanted` goes."""
    if type(value) in NUMBERS and type(wanted) in NUMBERS:
        fraction_for_whole = kind == "integer" and type(value) is float and type(wanted) is int
        return value == wanted and not fraction_for_whole
    if type(value) is not type(wanted):
        return False
    if isinstance(wanted, str):
        return value.translate(IGNORED).lower() == wanted.translate(IGNORED).lower()
    if isinstance(wanted, list):
        return len(value) == len(wanted) and all(_same(v, w, items) for v, w in zip(value, wanted, strict=True))
    if isinstance(wanted, dict):
        return value.keys() <= wanted.keys() and all(_has(value, key, options) for key, options in wanted.items())
    return value == wanted


def _has(value: dict[str, Any], key: str, options: Any) -> bool:
    """The same for one key of an object, whose options are a list as a parameter's are, or one plain value."""
    options = options if isinstance(options, list) else [options]
    return any(_same(value[key], option) for option in options) if key in value else "" in options
