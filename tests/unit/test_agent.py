"""The built-in agent: its tools, called with what a model may write, and what its tasks keep to."""

import json
import random

import pytest

from polymath.chat import V4Format
from polymath.domains import held_out_tasks, training_tasks
from polymath.domains.agent import AgentDomain
from polymath.domains.agent.desk import HELD_OUT_TOOLS, KNOWN_TOOLS, Desk
from polymath.tools import Toolbox

STATE = {"book": {"Ada": "12"}, "events": [["Monday", 9, "yoga"]], "files": {"notes": "a"}}


@pytest.mark.parametrize(
    ("tool", "arguments", "result"),
    [
        ("calculate", {"a": 12, "operation": "minus", "b": 30}, "-18"),
        ("convert", {"value": 3, "unit": "km", "to": "m"}, "3000"),
        ("look_up", {"name": "Ada"}, "12"),
        ("list_events", {"day": "Monday"}, "9 yoga"),
        ("list_events", {"day": "Friday"}, "none"),
        ("read_file", {"name": "notes"}, "a"),
        ("append_file", {"name": "notes", "text": "b"}, "added"),
    ],
)
def test_tools_by_hand(tool: str, arguments: dict, result: str) -> None:
    assert Desk(STATE).run(tool, json.dumps(arguments)) == result


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("calculate", '{"a": "12", "operation": "plus", "b": 30}'), ("calculate", '{"a": 12}'), ("calculate", "[1]"),
        ("calculate", '{"a": 1e999, "operation": "plus", "b": 1}'), ("calculate", '{"a": true, "operation": "plus", "b": 1}'),
        ("calculate", '{"a": 9999999999, "operation": "times", "b": 9}'), ("calculate", "nonsense"), ("calculate", "[" * 100_000),
        ("convert", '{"value": 3, "unit": "km", "to": "s"}'), ("convert", '{"value": 3, "unit": "m", "to": "km"}'),
        ("add_event", '{"day": "Monday", "hour": 24, "title": "x"}'), ("add_event", '{"day": "Sunday", "hour": 2, "title": "x"}'),
        ("look_up", '{"name": "Nobody"}'), ("look_up", '{"name": {}}'), ("look_up", '{"name": "Ada", "more": 1}'),
        ("read_file", '{"name": "../etc/passwd"}'), ("__class__", "{}"), ("state", "{}"), ("run", "{}"),
    ],
)  # fmt: skip
def test_what_a_tool_cannot_take_is_told_and_changes_nothing(tool: str, arguments: str) -> None:
    desk = Desk(STATE)
    before = json.dumps(desk.state())
    result = desk.run(tool, arguments)
    assert result.startswith("error: ") and len(result) < 5000
    assert json.dumps(desk.state()) == before


def test_a_tool_that_fails_or_says_too_much_harms_nothing() -> None:
    def explode() -> str:
        """Raise."""
        raise KeyError("boom")

    def speak() -> str:
        """Speak in the format's tokens."""
        return "a<\uff5cUser\uff5c>b"

    def flood() -> str:
        """Say much."""
        return "x" * 10**6

    box = Toolbox([explode, speak, flood])
    assert box.run("explode", "{}") == "error: explode: 'boom'"
    assert box.run("speak", "{}") == "error: the result holds a token of the chat format"
    assert len(box.run("flood", "{}")) < 5000
    with pytest.raises(ValueError, match="two tools have one name"):
        Toolbox([speak, speak])
    for hostile in ('{"name": "\\u003c/think>"}', '{"name": "\\ud800"}', '{"name": "<\uff5cUser\uff5c>"}'):
        result = Desk(STATE).run("look_up", hostile)
        assert V4Format().results([result], "high").encode()


def test_a_request_always_takes_something_to_do() -> None:
    rng = random.Random(1)
    for _ in range(2000):
        task = AgentDomain().draw(rng)
        told = json.loads(task.answer)
        assert told["content"] is not None or told["state"] != Desk(told["environment"]["state"]).state()


def test_a_schema_says_what_the_signature_says() -> None:
    schemas = {schema["function"]["name"]: schema["function"] for schema in Desk(STATE).toolbox.schemas()}
    assert set(schemas) == {*KNOWN_TOOLS, *HELD_OUT_TOOLS}
    properties = schemas["calculate"]["parameters"]["properties"]
    assert properties["a"]["type"] == "integer" and properties["operation"]["enum"] == ["plus", "minus", "times"]
    assert all(schema["description"] and "return" not in schema for schema in schemas.values())


@pytest.mark.parametrize("calls", [1, 2, 3, 4])
def test_requests_take_the_calls_they_are_asked_to(calls: int) -> None:
    for task in training_tasks(AgentDomain(min_calls=calls, max_calls=calls), 200, 0):
        assert sum(len(message.get("tool_calls", ())) for message in task.demonstration) == calls


def test_held_out_tools_never_appear_in_training() -> None:
    trained = training_tasks(AgentDomain(), 2000, 0)
    assert not {tool["function"]["name"] for task in trained for tool in task.tools} & {*HELD_OUT_TOOLS}
    unseen = AgentDomain(tools="held_out", max_calls=2)
    with pytest.raises(ValueError, match="for evaluation only"):
        training_tasks(unseen, 10, 0)
    for task in held_out_tasks(unseen, 50, 0):
        assert {tool["function"]["name"] for tool in task.tools} & {*HELD_OUT_TOOLS}


def test_a_request_offers_what_it_needs_among_other_tools() -> None:
    rng = random.Random(0)
    for _ in range(300):
        task = AgentDomain(num_tools=4).draw(rng)
        offered = [tool["function"]["name"] for tool in task.tools]
        used = {c["function"]["name"] for message in task.demonstration for c in message.get("tool_calls", ())}
        assert used <= set(offered) and len(offered) == len(set(offered)) == 4
