"""Requests that are answered by calling one of four tools."""

import json
import operator
import random
from collections.abc import Callable
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field, validate_call

from polymath.chat import Reply, ToolCall
from polymath.domains.task import Task
from polymath.strict import StrictModel

NAMES = ("Ada", "Bob", "Eve", "Ivo", "Kim", "Lea", "Max", "Mia", "Ned", "Ola", "Pia", "Rob", "Sam", "Tom", "Uma", "Zoe")
FIELDS = ("phone", "email", "street", "birthday")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
PER_METRE = {"m": 1.0, "km": 0.001, "miles": 0.000621371, "feet": 3.28084, "yards": 1.09361}
OPERATIONS: dict[str, Callable[[int, int], int]] = {"times": operator.mul, "minus": operator.sub}


def calculate(expression: str) -> dict[str, Any]:
    """`a times b` or `a minus b`: what was computed, and its value."""
    a, operation, b = expression.split()
    operands = [int(a), int(b)]
    value = OPERATIONS[operation](*operands)
    return {"operation": operation, "operands": sorted(operands) if operation == "times" else operands, "value": value}


def convert(length: str, to: str) -> dict[str, Any]:
    """A length such as `3 km` in another unit."""
    number, unit = length.split()
    value = int(number) / PER_METRE[unit] * PER_METRE[to]
    return {"from": [int(number), unit], "to": to, "value": round(value, 6)}


def look_up(person: str, field: str) -> str:
    """An entry of the address book."""
    if person not in NAMES or field not in FIELDS:
        raise KeyError(f"{person}/{field}")
    return f"{field} of {person}"


def add_event(day: str, hour: int) -> dict[str, Any]:
    """The entry as the calendar stores it."""
    if day not in DAYS or not 0 <= hour < 24:
        raise ValueError(f"no such time: {day} {hour}")
    return {"day": day, "hour": hour}


FUNCTIONS: tuple[Callable[..., Any], ...] = (calculate, convert, look_up, add_event)
# Called with what a model wrote: arguments of another type than the signature's raise a ValueError
TOOLS: dict[str, Callable[..., Any]] = {
    tool.__name__: validate_call(config=ConfigDict(strict=True))(tool) for tool in FUNCTIONS
}


class AgentDomain(StrictModel):
    """Calculator, unit conversion, address book and calendar; one call answers a request."""

    reward: ClassVar[str] = "tool_calls"

    kind: Literal["agent"] = "agent"
    max_number: int = Field(default=99, ge=20, description="Largest number in a request; the smallest is 10.")

    def draw(self, rng: random.Random) -> Task:
        """One request with the call that fulfils it; phrasings of the same call share a key."""
        question, call = rng.choice(REQUESTS)(rng, self.max_number)
        values = json.dumps(list(call.arguments.values()))
        return Task(
            key=f"agent {call.name} {values}",
            question=question,
            demonstration=Reply("", reasoning=_plan(call), tool_calls=(call,)),
            answer=json.dumps({"name": call.name, "arguments": call.arguments}),
        )


def _plan(call: ToolCall) -> str:
    return " ".join([call.name, *map(str, call.arguments.values())])


def _ask_calculation(rng: random.Random, max_number: int) -> tuple[str, ToolCall]:
    expression = f"{rng.randint(10, max_number)} {rng.choice(tuple(OPERATIONS))} {rng.randint(10, max_number)}"
    question = rng.choice(("What is {}?", "Work out {}."))
    return question.format(expression), ToolCall("calculate", {"expression": expression})


def _ask_conversion(rng: random.Random, max_number: int) -> tuple[str, ToolCall]:
    unit, to = rng.sample(tuple(PER_METRE), 2)
    length = f"{rng.randint(10, max_number)} {unit}"
    question = rng.choice(("Convert {length} to {to}.", "How many {to} are {length}?"))
    return question.format(length=length, to=to), ToolCall("convert", {"length": length, "to": to})


def _ask_entry(rng: random.Random, max_number: int) -> tuple[str, ToolCall]:
    person, field = rng.choice(NAMES), rng.choice(FIELDS)
    question = rng.choice(("What is the {field} of {person}?", "Find {person}'s {field}."))
    return question.format(person=person, field=field), ToolCall("look_up", {"person": person, "field": field})


def _ask_event(rng: random.Random, max_number: int) -> tuple[str, ToolCall]:
    day, hour = rng.choice(DAYS), rng.randint(10, 21)
    question = rng.choice(("Book {day} at {hour}.", "I am busy at {hour} on {day}."))
    return question.format(day=day, hour=hour), ToolCall("add_event", {"day": day, "hour": hour})


REQUESTS = (_ask_calculation, _ask_conversion, _ask_entry, _ask_event)
