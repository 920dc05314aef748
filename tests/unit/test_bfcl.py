"""Function calling: the verifier by hand, and the Berkeley sets as they ship."""

import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import pytest

from polymath.chat import parse, render
from polymath.chat.decode import Fault
from polymath.completion import Completion
from polymath.domains import bfcl
from polymath.domains.bfcl import CATEGORIES, NO_CALL, BfclDomain, load
from polymath.domains.task import Task, call, reply
from polymath.sandbox_config import SandboxConfig
from rewards import open_bench

needs_data = pytest.mark.skipif(find_spec("bfcl_eval") is None, reason="bfcl-eval is not installed")
JSON_TYPES = {"string", "integer", "number", "boolean", "array", "object"}


def tool_calls(turns: Sequence[Mapping[str, Any]], answer: str) -> float:
    completion = Completion(turns=tuple(turns), reward="tool_calls", answer=answer)
    (score,) = asyncio.run(open_bench(SandboxConfig()).verify([completion]))
    return score.value


def parameter(
    accepted: list[Any], kind: str | None = "string", items: str | None = None, required: bool = False
) -> dict:
    return {"type": kind, "items": items, "required": required, "accepted": accepted}


def wanted(name: str = "f", **parameters: Any) -> dict[str, Any]:
    return {"name": name, "parameters": parameters}


def written(name: str, arguments: Any) -> dict[str, Any]:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {"type": "function", "function": {"name": name, "arguments": text}}


def worth(expected: list[dict], *calls: tuple[str, Any], **fields: Any) -> float:
    turn = {**reply("", calls=tuple(written(*one) for one in calls)), **fields}
    return tool_calls([turn], json.dumps(expected))


def takes(parameter: dict[str, Any], value: Any) -> bool:
    return worth([wanted(x=parameter)], ("f", {"x": value})) == 1.0


@pytest.mark.parametrize(
    ("spec", "right", "wrong"),
    [
        (parameter(["April 1, 2024"]), ["april 1 2024", "APRIL 1,2024"], ["April 2, 2024", "", 2024, None, ["x"]]),
        (parameter(["it's"]), ['it"s', "IT'S"], ["its"]),
        (parameter([5], "integer"), [5], [5.0, "5", True, [5], 6, None]),
        (parameter([1], "integer"), [1], [True, 1.0]),
        (parameter([5.0], "number"), [5, 5.0], ["5.0", 5.1, float("nan"), float("inf"), 10**400]),
        (parameter([True], "boolean"), [True], [1, "true", "True", False, None]),
        (parameter([0], "integer"), [0], [False, -1]),
        (parameter([["Oslo", "New York"]], "array", "string"), [["oslo", "new york"]], [["Oslo"], [], "Oslo"]),
        (parameter([["a", "b"]], "array", "string"), [["a", "b"]], [["b", "a"], ["a", "b", "b"]]),
        (parameter([[1.0, 2.5]], "array", "number"), [[1, 2.5], [1.0, 2.5]], [[True, 2.5], ["1.0", 2.5]]),
        (parameter([[1, 2]], "array", "integer"), [[1, 2]], [[1.0, 2], [[1], 2]]),
        (parameter([[1], ""], "array", "integer"), [[1], []], ["", [[]]]),
        (parameter([[[1, 2], [3]]], "array", "array"), [[[1, 2], [3]]], [[[1, 2], 3], [[1, 2]]]),
        (parameter([{"a": ["x", "y"], "b": [1, ""]}], "object"), [{"a": "Y"}, {"a": "x", "b": 1}], [{"b": 1}, {}]),
        (parameter([{"a": ["x"]}], "object"), [{"a": "x"}], [{"a": ["x"]}, {"a": "x", "c": 1}, "x", [{"a": "x"}]]),
        (parameter([{"a": [{"b": 10.5}]}], "object"), [{"a": {"b": 10.5}}], [{"a": {}}, {"a": {"b": 1}}]),
        (parameter([[{"a": ["x"]}]], "array", "object"), [[{"a": "X"}]], [[], [{}], {"a": "x"}, [{"a": "x"}] * 2]),
        (parameter(["", None], "integer"), [None], [0, "null"]),
        (parameter([""], "integer"), [], ["", None, 0]),
        (parameter([""]), [""], ["x", None]),
        (parameter([7, "seven"], None), [7, "Seven"], [8, None]),
    ],
)
def test_values(spec: dict[str, Any], right: list[Any], wrong: list[Any]) -> None:
    assert [value for value in right if not takes(spec, value)] == []
    assert [value for value in wrong if takes(spec, value)] == []


def test_parameters_that_may_and_may_not_be_left_out() -> None:
    expected = [wanted(a=parameter(["x"], required=True), b=parameter(["", "y"]), c=parameter(["z"]))]
    assert worth(expected, ("f", {"a": "x", "c": "z"})) == 1.0
    assert worth(expected, ("f", {"a": "x", "b": "y", "c": "z"})) == 1.0
    for arguments in ({"a": "x"}, {"c": "z"}, {"a": "x", "c": "z", "d": 1}, {"a": "x", "b": "n", "c": "z"}):
        assert worth(expected, ("f", arguments)) == 0.0
    assert worth([wanted(a=parameter([5, ""], "integer", required=True))], ("f", {})) == 0.0


def test_calls_match_in_any_order_and_each_once() -> None:
    one, two = wanted("f", x=parameter([1], "integer")), wanted("f", x=parameter([1, 2], "integer"))
    other = wanted("g.h", x=parameter(["a"]))
    f1, f2, g = ("f", {"x": 1}), ("f", {"x": 2}), ("g.h", {"x": "a"})
    for calls in ([f1, f2, g], [g, f2, f1], [f2, g, f1]):
        assert worth([one, two, other], *calls) == worth([two, one, other], *calls) == 1.0
    for calls in ([f1, f1, f2], [f2, f2, g], [f1, g], [f1, f2, g, g], [f1, f1, f2, g], [f1, f2, g, ("k", {})], []):
        assert worth([one, two, other], *calls) == 0.0
    assert worth([one, one], f1, f1) == 1.0
    assert worth([other], ("g_h", {"x": "a"})) == worth([other], ("G.h", {"x": "a"})) == 0.0


def test_turns_have_an_order_and_their_calls_have_none() -> None:
    a, b, c = ("a", {}), ("b", {}), ("c", {})
    steps = json.dumps({"steps": [[wanted("a"), wanted("b")], [wanted("c")], []]})

    def turns(*every: list[tuple[str, Any]]) -> list[Mapping[str, Any]]:
        return [reply("" if calls else "Done.", calls=tuple(written(*one) for one in calls)) for calls in every]

    assert tool_calls(turns([a, b], [c], []), steps) == tool_calls(turns([b, a], [c], []), steps) == 1.0
    for wrong in ([[c], [a, b], []], [[a], [b, c], []], [[a, b], [c]], [[a, b, c], [], []]):
        assert tool_calls(turns(*wrong), steps) == 0.0


def test_where_no_function_fits_words_are_the_answer() -> None:
    assert worth([], content="None of them fits.") == 1.0
    assert worth([], content=" \n") == 0.0
    assert worth([], ("f", {}), content="None of them fits.") == 0.0
    assert worth([wanted()], content="None of them fits.") == 0.0
    broken = parse("No.\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=", "non_think", strict=False)
    assert broken["tool_calls"] == []
    assert tool_calls([broken], "[]") == 0.0


def test_one_turn_counts() -> None:
    expected, turn = json.dumps([wanted()]), reply("", calls=(written("f", {}),))
    assert tool_calls([turn], expected) == 1.0
    assert tool_calls([], expected) == tool_calls([turn, turn], expected) == 0.0
    assert tool_calls([], "[]") == 0.0
    assert tool_calls([{**turn, "faults": [Fault(0, "something")]}], expected) == 0.0


JUNK = ["", "null", "[]", "7", '"x"', "{", "{'x': 1}", '{"": 0}']
JUNK += [f'{{"x": {value}}}' for value in ("NaN", "1e999", '"\\ud800"', '{"x": {"x": []}}', "[[[[[1]]]]]", "9" * 5000)]
JUNK += [
    "[" * 100_000,
    '{"x": ' + "[" * 100_000,
    '{"x": ' + "[" * 900 + "]" * 900 + "}",
    '{"x":' * 900 + "1" + "}" * 900,
]


@pytest.mark.parametrize("arguments", JUNK, ids=lambda text: text[:20])
def test_whatever_a_model_writes_is_worth_nothing_and_raises_nothing(arguments: str) -> None:
    specs = [parameter(["x"]), parameter([5.0], "number"), parameter([5], "integer"), parameter([5], None)]
    specs += [parameter([[1]], "array", "integer"), parameter([[{"a": [1]}]], "array", "object")]
    specs += [parameter([{"a": [{"a": 1}]}], "object"), parameter([True], "boolean"), parameter([None], "string")]
    assert [worth([wanted(x=spec)], ("f", arguments)) for spec in specs] == [0.0] * len(specs)


def test_schemas_are_translated_at_every_depth() -> None:
    point = {"type": "tuple", "items": {"type": "float"}, "description": "x, y"}
    kind = {"type": "array", "items": {"type": "string"}, "enum": ["a", "b"]}
    free = {"type": "any", "optional": True, "default": 3}
    described = {"type": "dict", "properties": {"type": point, "kind": kind, "free": free}, "required": ["type"]}
    assert bfcl.schema(described) == {
        "type": "object",
        "properties": {
            "type": {"type": "array", "items": {"type": "number"}, "description": "x, y"},
            "kind": {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}},
            "free": {"default": 3},
        },
        "required": ["type"],
    }


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "bfcl_eval", None)
    with pytest.raises(ImportError, match="--no-deps bfcl-eval"):
        load.__wrapped__("multiple")


def check_schema(described: Mapping[str, Any]) -> None:
    assert described.get("type", "string") in JSON_TYPES
    assert isinstance(described.get("enum", []), list)
    assert all(isinstance(name, str) for name in described.get("required", []))
    for inner in [*described.get("properties", {}).values(), *([described["items"]] if "items" in described else [])]:
        check_schema(inner)


@needs_data
@pytest.mark.parametrize("category", CATEGORIES)
def test_every_demonstration_is_right_and_reads_back(category: Any) -> None:
    entries = load(category)
    assert len(entries.skipped) <= 0.015 * len(entries.tasks) + 1
    for task in entries.tasks:
        text = render([*task.messages, *task.demonstration], "high", tools=task.tools)
        prompt = render(task.messages, "high", tools=task.tools)
        assert text.startswith(prompt)
        parsed = parse(text.removeprefix(prompt), "high")
        shown = task.demonstration[0]
        assert parsed["content"] == shown["content"] and parsed["reasoning"] == shown["reasoning"] != ""
        read = [(one["function"]["name"], json.loads(one["function"]["arguments"])) for one in parsed["tool_calls"]]
        assert read == [(one["function"]["name"], one["function"]["arguments"]) for one in shown["tool_calls"]]
        assert tool_calls([parsed], task.answer) == tool_calls(task.demonstration, task.answer) == 1.0
        assert bool(read) == (category not in NO_CALL)


@needs_data
@pytest.mark.parametrize("category", CATEGORIES)
def test_every_schema_is_valid_and_allows_what_is_shown(category: Any) -> None:
    for task in load(category).tasks:
        functions = {tool["function"]["name"]: tool["function"]["parameters"] for tool in task.tools}
        for parameters in functions.values():
            assert parameters["type"] == "object"
            check_schema(parameters)
        for one in task.demonstration[0]["tool_calls"]:
            assert bfcl.fits(one["function"]["arguments"], functions[one["function"]["name"]])


@needs_data
def test_wrong_answers_earn_nothing() -> None:
    for category in CATEGORIES:
        for task in load(category).tasks[:40]:
            calls = tuple(task.demonstration[0]["tool_calls"])
            turns = [
                reply("Sorry, I cannot.", calls=(*calls, call("no_such_function", {}))),
                reply("", calls=calls * 2),
            ]
            turns += [reply("I do it now.", calls=calls[1:])] if calls else []
            assert [tool_calls([turn], task.answer) for turn in turns] == [0.0] * len(turns)


@needs_data
def test_equal_questions_share_a_key_and_seeds_decide() -> None:
    def question(task: Task) -> str:
        return json.dumps(task.messages)

    keys: dict[str, str] = {}
    for task in (task for category in CATEGORIES for task in load(category).tasks):
        assert keys.setdefault(question(task), task.key) == task.key
    domain = BfclDomain(categories=("multiple", "irrelevance"))
    first, second = ([domain.draw(random.Random(7)) for _ in range(3)] for _ in range(2))
    assert first == second
    rng = random.Random(0)
    assert {bool(domain.draw(rng).demonstration[0]["tool_calls"]) for _ in range(50)} == {True, False}
