"""Single-turn function calling of the Berkeley leaderboard's sets (distribution `bfcl-eval`).

The data lie in the distribution `bfcl-eval` as JSON lines, with schemas in a dialect of their own, and with lists of
accepted values in the place of answers. An entry that contradicts itself is skipped, and `load` says why.
"""

import functools
import importlib.resources
import json
import random
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from pydantic import Field

from polymath.chat.tokens import first_token
from polymath.domains.task import Message, Task, call, reply
from polymath.strict import StrictModel

Category = Literal[
    "simple_python",
    "multiple",
    "parallel",
    "parallel_multiple",
    "live_simple",
    "live_multiple",
    "live_parallel",
    "live_parallel_multiple",
    "irrelevance",
    "live_irrelevance",
]
CATEGORIES: tuple[Category, ...] = get_args(Category)
NO_CALL = ("irrelevance", "live_irrelevance")

TYPES = {"dict": "object", "float": "number", "tuple": "array"}  # the others are JSON's, but for `any`
PYTHON_TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict}


class BfclDomain(StrictModel):
    """One request, some functions, and the calls to make; in the irrelevance sets none of them fits."""

    reward: ClassVar[str] = "tool_calls"

    kind: Literal["bfcl"] = "bfcl"
    categories: tuple[Category, ...] = Field(
        default=("simple_python", "multiple", "parallel", "parallel_multiple", "irrelevance"),
        min_length=1,
        description="Sets to draw from, each entry as likely as any other.",
    )

    def draw(self, rng: random.Random) -> Task:
        """One entry; entries that ask the same, with whatever functions, share a key."""
        return rng.choice(_pool(self.categories))


@dataclass(frozen=True)
class Entries:
    """A set's tasks, and the ids of the entries that made none, with the reason."""

    tasks: tuple[Task, ...]
    skipped: dict[str, str]


class _Unusable(ValueError):
    """Why an entry makes no task."""


@functools.cache
def _pool(categories: tuple[Category, ...]) -> tuple[Task, ...]:
    return tuple(task for category in dict.fromkeys(categories) for task in load(category).tasks)


@functools.cache
def load(category: Category) -> Entries:
    """A set, converted. Raises ImportError where the package is missing."""
    answers = [] if category in NO_CALL else _rows(category, "possible_answer")
    truths = {row["id"]: row["ground_truth"] for row in answers}
    tasks, skipped = [], {}
    for entry in _rows(category):
        try:
            tasks.append(_checked(_task(entry, truths.get(entry["id"], []))))
        except _Unusable as reason:
            skipped[entry["id"]] = str(reason)
    return Entries(tuple(tasks), skipped)


def _rows(category: Category, folder: str = "") -> list[dict[str, Any]]:
    try:
        package = importlib.resources.files("bfcl_eval")  # imports the top package alone, which is empty
    except ImportError as error:
        raise ImportError("the domain 'bfcl' needs its data: pip install --no-deps bfcl-eval") from error
    path = package.joinpath("data", folder, f"BFCL_v4_{category}.json")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


def _checked(task: Task) -> Task:
    if token := first_token(json.dumps([task.messages, task.tools, task.demonstration], ensure_ascii=False)):
        raise _Unusable(f"it holds {token}, a token of the chat format")
    return task


def _task(entry: dict[str, Any], truth: list[dict[str, Any]]) -> Task:
    (messages,) = entry["question"]
    if any(message["role"] not in ("system", "user") for message in messages):
        raise _Unusable("its question holds an assistant's message")
    functions = {item["name"]: item | {"parameters": schema(item["parameters"])} for item in entry["function"]}
    expected = [_expected(functions, name, accepted) for answer in truth for name, accepted in answer.items()]
    asked = " ".join(message["content"] for message in messages if message["role"] == "user")
    return Task(
        key=f"bfcl {''.join(filter(str.isalnum, asked.casefold()))}",  # some differ in punctuation alone
        messages=tuple({"role": message["role"], "content": message["content"]} for message in messages),
        demonstration=(_demonstration(functions, expected),),
        answer=json.dumps(expected),
        tools=tuple({"type": "function", "function": function} for function in functions.values()),
    )


def schema(described: dict[str, Any]) -> dict[str, Any]:
    """A schema of the set as a JSON schema: types renamed, `any` as no type, and an array's `enum` on its items."""
    out = {key: value for key, value in described.items() if key not in ("type", "optional")}
    if described["type"] != "any":
        out = {"type": TYPES.get(described["type"], described["type"]), **out}
    if "properties" in out:
        out["properties"] = {name: schema(inner) for name, inner in out["properties"].items()}
    if "items" in out:
        out["items"] = schema(out["items"])
        if "enum" in out:
            out["items"]["enum"] = out.pop("enum")
    return out


def _expected(functions: dict[str, Any], name: str, accepted: dict[str, list[Any]]) -> dict[str, Any]:
    """One call as `rewards.tool_calls` reads it."""
    properties, required = (
        functions[name]["parameters"]["properties"],
        functions[name]["parameters"].get("required", []),
    )
    if lacking := set(required) - set(accepted):
        raise _Unusable(f"its answer gives no value for {', '.join(sorted(lacking))}, which {name} requires")
    if unknown := [key for key, options in accepted.items() if key not in properties and "" not in options]:
        raise _Unusable(f"its answer asks for {', '.join(unknown)}, which {name} does not have")
    parameters = {}
    for key, options in accepted.items():
        if key in properties:
            kind, items = properties[key].get("type"), properties[key].get("items", {}).get("type")
            # In two entries an empty list stands for the empty list, which the other entries write as [[]]
            options = options or ([[]] if kind == "array" else [])
            parameters[key] = {"type": kind, "items": items, "required": key in required, "accepted": options}
    return {"name": name, "parameters": parameters}


def _demonstration(functions: dict[str, Any], expected: list[dict[str, Any]]) -> Message:
    if not expected:
        return reply("None of the functions that I have fits this request.", "No function on offer does what is asked.")
    calls = tuple(_call(functions[wanted["name"]]["parameters"], wanted) for wanted in expected)
    return reply("", f"The calls to make: {', '.join(wanted['name'] for wanted in expected)}.", calls)


def _call(parameters: dict[str, Any], wanted: dict[str, Any]) -> Message:
    """The call with the first value that each parameter accepts and its schema allows."""
    arguments = {}
    for key, parameter in wanted["parameters"].items():
        options, optional = parameter["accepted"], not parameter["required"] and "" in parameter["accepted"]
        if optional and options[0] == "":
            continue
        values = [_concrete(parameters["properties"][key], option) for option in options if option != ""]
        allowed = [value for value in values if fits(value, parameters["properties"][key])]
        if allowed:
            arguments[key] = allowed[0]
        elif not optional:
            raise _Unusable(f"no value that its answer accepts for {key} is one that the schema allows: {options}")
    return call(wanted["name"], arguments)


def _concrete(described: dict[str, Any], option: Any) -> Any:
    """An accepted value as a call writes it: no lists of choices inside objects, and the schema's own spelling."""
    if isinstance(option, list):
        return [_concrete(described.get("items", {}), item) for item in option]
    if isinstance(option, dict):
        properties, chosen = described.get("properties", {}), {}
        for key, choices in option.items():
            choices = choices if isinstance(choices, list) else [choices]
            first = next((choice for choice in choices if choice != ""), None)
            if first is not None and (choices[0] != "" or key in described.get("required", [])):
                chosen[key] = _concrete(properties.get(key, {}), first)
        return chosen
    spellings = [name for name in described.get("enum", []) if str(name).lower() == str(option).lower()]
    return spellings[0] if spellings and isinstance(option, str) else option


def fits(value: Any, described: dict[str, Any]) -> bool:
    """Whether a JSON schema allows a value, in the words that these sets use; null only where it is the default."""
    if value is None:
        return described.get("default", "") is None
    kind = described.get("type")
    if kind and (not isinstance(value, PYTHON_TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
        return False
    if "enum" in described and value not in described["enum"]:
        return False
    if isinstance(value, list):
        return all(fits(item, described.get("items", {})) for item in value)
    if isinstance(value, dict):
        properties = described.get("properties", {})
        whole = set(described.get("required", [])) <= value.keys()
        return whole and all(fits(item, properties.get(key, {})) for key, item in value.items())
    return True
