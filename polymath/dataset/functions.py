"""What is wrong with the functions that a conversation offers, and with calls of them.

Rows with such faults can be trained on, for a model sees a schema as text; servers read it as JSON schema.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from polymath.dataset.files import json_kind
from polymath.dataset.layouts import Conversation
from polymath.source import nearest, shown

TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}
# What people write in their place, small; what stands for anything is none
MEANT = {"dict": "object", "map": "object", "hashmap": "object", "str": "string", "char": "string", "text": "string"}
MEANT |= {"float": "number", "double": "number", "int": "integer", "long": "integer", "bool": "boolean"}
MEANT |= {"list": "array", "tuple": "array", "set": "array", "arraylist": "array", "none": "null", "any": ""}
COMBINED = {"anyOf", "oneOf", "allOf", "not", "$ref", "if"}  # that say more than is read here
DEEPEST = 20  # values within values


def _are_names(given: Any) -> bool:
    return isinstance(given, list) and all(isinstance(name, str) for name in given)


FIELDS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "type": ("a name", lambda given: isinstance(given, str) or _are_names(given)),
    "properties": ("an object", lambda given: isinstance(given, dict)),
    "required": ("a list of names", _are_names),
    "enum": ("a list", lambda given: isinstance(given, list)),
}


def faults(own: Conversation) -> Iterator[str]:
    """What is no JSON schema of an object in the functions on offer, but for names of types."""
    names = [tool["function"]["name"] for tool in own.tools]
    yield from (f"{name} is on offer twice" for name in dict.fromkeys(names) if names.count(name) > 1)
    for tool in own.tools:
        name, parameters = tool["function"]["name"], tool["function"].get("parameters")
        if parameters is None or parameters == {}:  # a function that takes nothing, or does not say what
            continue
        yield from (f"{name}: {fault}" for fault in _faults_of_root(parameters))
        for at, schema in _within(parameters):
            yield from (f"{name}: {at} {fault}" for fault in _faults(schema))


def unknown_types(own: Conversation) -> list[str]:
    """Names of types that JSON schema does not have, and that whole files have instead: Python's, mostly."""
    within = (schema for tool in own.tools for _, schema in _within(tool["function"].get("parameters")))
    kinds = [kind for schema in within if isinstance(schema, dict) for kind in _kinds(schema) if kind not in TYPES]
    return list(dict.fromkeys(kinds))


def meant(kind: str) -> str:
    """What a type is in JSON schema, for a message; nothing where that is any."""
    known = _known(kind)
    return known[0] if known else "leave it out" if MEANT.get(kind.lower()) == "" else nearest(kind, TYPES)[2:]


def misfits(own: Conversation) -> Iterator[str]:
    """What calls ask of functions otherwise than these say."""
    offered = {tool["function"]["name"]: tool["function"].get("parameters") for tool in own.tools}
    for message in own.messages:
        for call in message.get("tool_calls") or ():
            yield from _misfits(call["function"], offered.get(call["function"]["name"]))


def _misfits(call: Mapping[str, Any], schema: Any) -> Iterator[str]:
    """Of one call, as far as the schema says anything of its arguments."""
    schema = schema if isinstance(schema, dict) else {}
    name, given, known = call["name"], call["arguments"], schema.get("properties")
    yield from (f"{name} is called without {key!r}" for key in _needed(schema) if key not in given)
    if not isinstance(known, dict):
        return
    if not schema.get("additionalProperties"):
        yield from (f"{name} is called with {key!r}, which it does not know" for key in given if key not in known)
    for key in given:
        yield from (f"{name} is called with {fault}" for fault in _unfit(given[key], known.get(key), key))


def _unfit(value: Any, schema: Any, at: str, depth: int = 0) -> Iterator[str]:
    """Why a schema does not allow a value; nothing where it says more than is read here."""
    if not isinstance(schema, dict) or depth > DEEPEST or COMBINED & schema.keys():
        return
    if value is None and (schema.get("nullable") or schema.get("default", "") is None):
        return
    kinds = [known for kind in _kinds(schema) for known in _known(kind) or TYPES]
    if kinds and not any(_is_of(value, kind) for kind in kinds):
        yield f"{at} as {json_kind(value)}, and its schema says {' or '.join(kinds)}"
    elif isinstance(schema.get("enum"), list) and not _is_listed(value, schema["enum"]):
        yield f"{at} as {shown(value)}, which its schema does not list"
    elif isinstance(value, list):
        for place, own in enumerate(value):
            yield from _unfit(own, schema.get("items"), f"{at}[{place}]", depth + 1)
    elif isinstance(value, dict):
        yield from (f"{at} without {key!r}" for key in _needed(schema) if key not in value)
        known = schema.get("properties")
        for key, inner in known.items() if isinstance(known, dict) else ():
            yield from _unfit(value[key], inner, f"{at}.{key}", depth + 1) if key in value else ()


def _faults_of_root(parameters: Any) -> Iterator[str]:
    if not isinstance(parameters, dict):
        yield f"parameters are {json_kind(parameters)} and no schema of an object"
    elif (kinds := _kinds(parameters)) and not any("object" in (_known(kind) or TYPES) for kind in kinds):
        yield f"parameters are of type {' or '.join(kinds)}, and have to be an object"
    elif not parameters.keys() & {"type", "properties", *COMBINED}:
        yield f"parameters have no 'properties', into which belong: {', '.join(map(str, parameters))}"


def _faults(schema: Any) -> Iterator[str]:
    """Of one schema, those within it left out."""
    if not isinstance(schema, dict | bool):
        yield f"is {json_kind(schema)} and no schema"
        return
    # a parquet file says null of what other rows have
    given = {key: own for key, own in schema.items() if own is not None} if isinstance(schema, dict) else {}
    for field, (needed, is_right) in FIELDS.items():
        if field in given and not is_right(given[field]):
            yield f"has {json_kind(given[field])} as {field!r}, where {needed} is needed"
    known = given.get("properties")
    if isinstance(known, dict):
        unknown = [key for key in _needed(given) if key not in known]
        yield from (f"requires {key!r}, which is none of its properties{nearest(key, known)}" for key in unknown)


def _within(root: Any) -> Iterator[tuple[str, Any]]:
    """The schema and all that lie within it, with the way there."""
    pending = [("parameters", root)] if isinstance(root, dict) else []
    while pending:
        at, own = pending.pop(0)
        yield at, own
        if isinstance(own, dict):
            known, items = own.get("properties"), own.get("items")
            pending += [(f"{at}.{name}", inner) for name, inner in known.items()] if isinstance(known, dict) else []
            pending += [(f"{at}[]", inner) for inner in (items if isinstance(items, list) else [items]) if inner]
            for key in ("anyOf", "oneOf", "allOf"):
                pending += [(at, inner) for inner in (own[key] if isinstance(own.get(key), list) else ())]


def _kinds(schema: Mapping[str, Any]) -> list[str]:
    given = schema.get("type")
    return [kind for kind in (given if isinstance(given, list) else [given]) if isinstance(kind, str)]


def _known(kind: str) -> list[str]:
    """The type that is meant; none where it is any, or unknown."""
    found = kind if kind in TYPES else MEANT.get(kind.lower(), kind.lower())
    return [found] if found in TYPES else []


def _needed(schema: Mapping[str, Any]) -> Sequence[str]:
    given = schema.get("required")
    return [key for key in given if isinstance(key, str)] if isinstance(given, list) else []


def _is_of(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, TYPES[kind]) or (kind == "integer" and isinstance(value, float) and value.is_integer())


def _is_listed(value: Any, enum: list[Any]) -> bool:
    """Of an array some list its items' values."""
    return value in enum or (isinstance(value, list) and all(own in enum for own in value))
