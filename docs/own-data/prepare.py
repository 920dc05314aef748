"""Questions and accepted answers of the Berkeley function-calling sets as conversations, one a line.

    python prepare.py calls.jsonl

The sets are those of the distribution `bfcl-eval` (Apache-2.0): `pip install --no-deps bfcl-eval`.
"""

import json
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

SETS = "simple_python", "multiple", "parallel"
TYPES = {"dict": "object", "float": "number", "tuple": "array"}


def lines(*path: str) -> list[dict[str, Any]]:
    """The lines of one of its files."""
    return [json.loads(line) for line in files("bfcl_eval").joinpath("data", *path).read_text().splitlines()]


def schema(given: Any) -> Any:
    """JSON schema of what the sets write in Python's types."""
    if isinstance(given, list):
        return [schema(own) for own in given]
    if not isinstance(given, dict):
        return given
    return {
        key: TYPES.get(own, own) if key == "type" and isinstance(own, str) else schema(own)
        for key, own in given.items()
        if (key, own) != ("type", "any")
    }


def call(accepted: dict[str, dict[str, list[Any]]]) -> dict[str, Any]:
    """The first of the accepted values of each argument; what may be left out is."""
    ((name, arguments),) = accepted.items()
    return {"type": "function", "function": {"name": name, "arguments": json.dumps(chosen(arguments))}}


def chosen(accepted: dict[str, list[Any]]) -> dict[str, Any]:
    """Of an object's values, each a list of those that are accepted, the first ones; objects lie within objects."""
    return {key: first(values[0]) for key, values in accepted.items() if values and "" not in values}


def first(value: Any) -> Any:
    """An accepted value without the choices inside it."""
    if isinstance(value, list):
        return [first(own) for own in value]
    return chosen(value) if isinstance(value, dict) else value


def conversations() -> Iterator[dict[str, Any]]:
    """Question, functions, and the calls that answer it."""
    for name in SETS:
        answers = {own["id"]: own["ground_truth"] for own in lines("possible_answer", f"BFCL_v4_{name}.json")}
        for entry in lines(f"BFCL_v4_{name}.json"):
            tools = [{"type": "function", "function": schema(own)} for own in entry["function"]]
            calls = [call(own) for own in answers[entry["id"]]]
            yield {"messages": [*entry["question"][0], {"role": "assistant", "tool_calls": calls}], "tools": tools}


if __name__ == "__main__":
    Path(sys.argv[1]).write_text("".join(json.dumps(own) + "\n" for own in conversations()))
