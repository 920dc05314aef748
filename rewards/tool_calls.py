"""Whether the calls of an episode are the ones asked for, by name and typed arguments.

The rules are those of the Berkeley leaderboard (`ast_checker.py` of bfcl-eval): each parameter has a list of accepted
values, and "" in that list means that the parameter may be left out. It differs on purpose in four places: calls are
matched to answers in every order, not greedily; whole numbers pass for fractions inside lists too; `true` never passes
for 1; and strings are compared leniently wherever they stand.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from polymath.completion import Completion
from rewards.base import Verifier, Workbench
from rewards.score import Score

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


class ToolCalls(Verifier):
    """1.0 if the turns make exactly the calls of the answer; text beside calls is free.

    The row's answer is JSON: the calls of one turn, in any order, as a list of `{"name", "parameters": {name: {"type",
    "items", "required", "accepted"}}}`, where `type` and `items` are JSON types or null for any; or `{"steps": [...]}`,
    one such list for each turn, in this order. An empty list asks for words and no call.
    """

    name: Literal["tool_calls"] = "tool_calls"

    def verify(self, completion: Completion, bench: Workbench) -> Score:
        answer = json.loads(completion.answer)
        steps = answer["steps"] if isinstance(answer, dict) else [answer]
        if len(completion.turns) != len(steps):
            return Score(0.0, faults=(f"{len(completion.turns)} turns, and {len(steps)} are asked for",))
        right = [makes(turn, step) for turn, step in zip(completion.turns, steps, strict=True)]
        faults = tuple(f"turn {number}: not the calls asked for" for number, good in enumerate(right, 1) if not good)
        return Score(float(not faults), {"turns": sum(right) / len(right)}, faults)


def makes(turn: Mapping[str, Any], expected: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a turn makes the expected calls, in any order."""
    calls = turn.get("tool_calls") or []
    if not expected:
        return not calls and bool((turn.get("content") or "").strip())
    if len(calls) != len(expected):
        return False
    read = [_read(call["function"]) for call in calls]
    return _pairs([{place for place, call in enumerate(read) if _is(call, wanted)} for wanted in expected])


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


def _is(call: tuple[Any, Any], wanted: Mapping[str, Any]) -> bool:
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
