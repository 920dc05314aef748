"""What is wrong with the functions that a conversation offers, and with calls of them, by JSON schema.

Rows with such faults can be trained on, for a model sees a schema as text; servers read it as JSON schema.
"""

import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from jsonschema import Draft7Validator, Draft202012Validator
from jsonschema.exceptions import ValidationError

from polymath.dataset.layouts import Conversation
from polymath.source import nearest

TYPES = ("string", "integer", "number", "boolean", "array", "object", "null")
# What people write in their place, small; what stands for anything is none
MEANT = {"dict": "object", "map": "object", "hashmap": "object", "str": "string", "char": "string", "text": "string"}
MEANT |= {"float": "number", "double": "number", "int": "integer", "long": "integer", "bool": "boolean"}
MEANT |= {"list": "array", "tuple": "array", "set": "array", "arraylist": "array", "none": "null", "any": ""}
LISTS = ("anyOf", "oneOf", "allOf")  # of schemas
# What is read of a schema. A reference would be looked for on the network, and a pattern may take for ever to match
READ = {"type", "enum", "const", "required", "properties", "additionalProperties", "items", *LISTS}
READ |= {"minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems"}
# What else validates, in either draft; `format` annotates, unless somebody asks for more
UNREAD = (Draft7Validator.VALIDATORS.keys() | Draft202012Validator.VALIDATORS.keys()) - READ - {"format"}
# Besides `properties`, these say which properties there are
NAMING = {"$ref", "$dynamicRef", "patternProperties", "dependencies", "dependentSchemas", "if", *LISTS}
DEEPEST = 20  # schemas within schemas
TOO_DEEP = f"what is over {DEEPEST} deep"
LONGEST = 200  # letters of what is told, for it quotes


@dataclass
class Signature:
    """Parameters of a function as they are read, and what was found on the way."""

    schema: Any = True
    faults: list[str] = field(default_factory=list)
    types: list[str] = field(default_factory=list)  # that JSON schema does not have
    unread: list[str] = field(default_factory=list)  # keywords
    names: frozenset[str] | None = None  # of all parameters, where these are known


def faults(own: Conversation) -> Iterator[str]:
    """Where the functions on offer are described by no JSON schema of an object, but for names of types."""
    names = [tool["function"]["name"] for tool in own.tools]
    yield from (f"{name} is on offer twice" for name in dict.fromkeys(names) if names.count(name) > 1)
    yield from (f"{name}: {fault}" for name, signature in _offered(own) for fault in signature.faults)


def unknown_types(own: Conversation) -> list[str]:
    """Names of types that JSON schema does not have, and that whole files have instead: Python's, mostly."""
    return list(dict.fromkeys(kind for _, signature in _offered(own) for kind in signature.types))


def unread(own: Conversation) -> list[str]:
    """Keywords of the schemas that say which calls are valid, and that no call is compared with."""
    return list(dict.fromkeys(keyword for _, signature in _offered(own) for keyword in signature.unread))


def meant(kind: str) -> str:
    """What a type is in JSON schema, for a message."""
    known = MEANT.get(kind.lower(), kind.lower())
    return known if known in TYPES else nearest(kind, TYPES)[2:] if known else "leave it out"


def misfits(own: Conversation) -> Iterator[str]:
    """What calls ask of functions otherwise than these say, where that can be read."""
    known = {name: signature for name, signature in _offered(own) if not signature.faults}
    for message in own.messages:
        for call in message.get("tool_calls") or ():
            name, arguments = call["function"]["name"], call["function"]["arguments"]
            signature = known.get(name, Signature())
            names = arguments if signature.names is None else signature.names
            for other in arguments:
                if other not in names:  # JSON schema lets it pass, and most functions do not take it
                    told = f"{other!r} is none of its parameters{nearest(other, sorted(names))}"
                    yield f"{name}: {textwrap.shorten(told, LONGEST)}"
            wrong = Draft7Validator(signature.schema).iter_errors(arguments)
            yield from (f"{name}: {told}" for told in _told(wrong))


def _offered(own: Conversation) -> Iterator[tuple[str, Signature]]:
    for tool in own.tools:
        yield tool["function"]["name"], _signature(json.dumps(tool["function"].get("parameters"), default=str))


@lru_cache(maxsize=10_000)
def _signature(written: str) -> Signature:
    """From JSON: rows have the same functions mostly."""
    parameters, found = json.loads(written), Signature()
    if not parameters and parameters in ({}, None):  # a function that takes nothing, or does not say what
        return found
    found.schema = _read(parameters, "parameters", found)
    if not isinstance(found.schema, dict):
        found.faults.append(f"parameters: {textwrap.shorten(written, LONGEST)} is no schema of an object")
    elif "object" not in found.schema.get("type", "object"):
        found.faults.append(f"parameters.type: {found.schema['type']!r} is not 'object'")
    elif not parameters.keys() & {"$ref", "patternProperties", *READ}:
        found.faults.append(f"parameters: no 'properties', into which belong {', '.join(map(repr, parameters))}")
        found.unread.clear()  # they are names of parameters
    else:
        wrong = Draft7Validator(Draft7Validator.META_SCHEMA).iter_errors(found.schema)
        found.faults += _told(wrong, "parameters")
        open_ended = {"additionalProperties", *NAMING} & _given(parameters)
        if _is(dict, found.schema, "properties") and not open_ended:
            found.names = frozenset(found.schema["properties"])
    return found


def _told(errors: Iterable[ValidationError], *root: str) -> Iterator[str]:
    for error in errors:
        at = ".".join(map(str, (*root, *error.absolute_path)))
        yield f"{at}: {textwrap.shorten(error.message, LONGEST)}" if at else textwrap.shorten(error.message, LONGEST)


def _read(schema: Any, at: str, found: Signature, depth: int = 0) -> Any:
    """A schema as far as it is read; types that JSON schema lacks, and names of nothing, are noted on the way."""
    if depth > DEEPEST:
        found.unread.append(TOO_DEEP)
        return True
    if not isinstance(schema, dict):
        return schema
    given = _given(schema)
    found.unread += sorted(given & UNREAD)
    own = {key: value for key, value in schema.items() if key in given & READ}
    if "patternProperties" in given:
        own.pop("additionalProperties", None)  # what is left to these depends on the patterns
    _read_type(own, schema, found)

    def inner(value: Any, *way: object) -> Any:
        return _read(value, ".".join(map(str, (at, *way))), found, depth + 1)

    own |= {key: inner(own[key], key) for key in ("items", "additionalProperties") if key in own}
    own |= {
        key: [inner(value, key, place) for place, value in enumerate(own[key])]
        for key in (*LISTS, "items")
        if _is(list, own, key)
    }
    if _is(dict, own, "properties"):
        known = {name: value for name, value in own["properties"].items() if value is not None}
        own["properties"] = {name: inner(value, "properties", name) for name, value in known.items()}
        if _is(list, own, "required") and not given & NAMING:
            unknown = [name for name in own["required"] if isinstance(name, str) and name not in known]
            found.faults += [f"{at}.required: {name!r} is no property{nearest(name, known)}" for name in unknown]
    return own


def _read_type(own: dict[str, Any], schema: Mapping[str, Any], found: Signature) -> None:
    """Put the types of JSON schema in the place of others', and what these say of null and of arrays."""
    kinds: list[Any] = own["type"] if _is(list, own, "type") else [own.get("type")]
    if not all(isinstance(kind, str) for kind in kinds):
        return
    found.types += [kind for kind in kinds if kind not in TYPES]
    known = [known for kind in kinds if (known := MEANT.get(kind.lower(), kind.lower())) in TYPES]
    if known and (schema.get("nullable") or schema.get("default", "") is None):
        known.append("null")
    own.pop("type")
    if known and len(known) >= len(kinds):  # else one of them may be anything
        own["type"] = known[0] if len(known) == 1 else list(dict.fromkeys(known))
    if known == ["array"] and _is(list, own, "enum") and not any(isinstance(value, list) for value in own["enum"]):
        own["items"] = (
            {**own["items"], "enum": own.pop("enum")} if _is(dict, own, "items") else {"enum": own.pop("enum")}
        )


def _given(schema: Mapping[str, Any]) -> set[str]:
    """Keywords with a value; null fills parquet files."""
    return {key for key, value in schema.items() if value is not None}


def _is(kind: type, own: Mapping[str, Any], key: str) -> bool:
    return isinstance(own.get(key), kind)
