"""Python functions as tools: a typed signature and a docstring become the schema, and what is called is checked."""

import json
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from pydantic import ConfigDict, ValidationError, validate_call

from polymath.chat.tokens import UNTELLABLE, first_token

MAX_RESULT = 4000  # characters of a result that the model is shown
Tool = Callable[..., Any]
_schemas: dict[Tool, dict[str, Any]] = {}


def tool_schema(function: Tool) -> dict[str, Any]:
    """The tool's JSON schema, from its type hints and its docstring with a line for each argument.

    Raises transformers' `DocstringParsingException` or `TypeHintParsingException` where one is missing.
    """
    from transformers.utils.chat_template_utils import get_json_schema

    plain = getattr(function, "__func__", function)  # of a method, whatever object it is bound to
    if plain not in _schemas:
        schema = get_json_schema(function)
        schema["function"].pop("return", None)  # no part of OpenAI's schemas
        _schemas[plain] = schema
    return _schemas[plain]


class Toolbox:
    """Tools by name; a call gives text, whatever a model writes and whatever the tool does."""

    def __init__(self, functions: Iterable[Tool]) -> None:
        given = list(functions)
        self.functions = {function.__name__: function for function in given}
        if len(self.functions) < len(given):
            raise ValueError(f"two tools have one name: {', '.join(function.__name__ for function in given)}")

    def schemas(self) -> tuple[dict[str, Any], ...]:
        """The tools as a conversation lists them."""
        return tuple(tool_schema(function) for function in self.functions.values())

    def run(self, name: str, arguments: str) -> str:
        """The result of a call, strings as they are and other values as JSON; `error: ...` where it fails.

        `arguments` is a JSON object. Values of another type than the signature's are refused, not converted.
        """
        try:
            return _shown(self._call(name, json.loads(arguments)))
        except ValidationError as error:
            fault = error.errors()[0]
            return _shown(f"error: {name}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}")
        except Exception as error:
            # The trust boundary: a tool may raise anything on what a model wrote, and the episode goes on
            return _shown(f"error: {name}: {_told(error)}")

    def _call(self, name: str, arguments: Any) -> Any:
        if name not in self.functions:
            raise ValueError(f"no such tool; there are {', '.join(self.functions)}")
        if not isinstance(arguments, dict):
            raise ValueError("arguments are a JSON object")
        function = self.functions[name]
        bound_to = getattr(function, "__self__", None)
        checked = _checked(getattr(function, "__func__", function))
        return checked(**arguments) if bound_to is None else checked(bound_to, **arguments)


@cache
def _checked(function: Tool) -> Tool:
    return validate_call(config=ConfigDict(strict=True))(function)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = text.encode(errors="replace").decode()  # a lone surrogate, which JSON can hold, is no text
    if first_token(text):  # would be read as part of the conversation, and must not be repeated here
        return UNTELLABLE
    return text if len(text) <= MAX_RESULT else text[:MAX_RESULT] + " ..."


def _told(error: Exception) -> str:
    try:
        return str(error)
    except Exception:  # a tool's own exception may fail to say what it is
        return type(error).__name__
