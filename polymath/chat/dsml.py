"""DSML, the markup in which the family calls tools (report, table 4): written here, read in `decode`."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from polymath.chat.tokens import DSML


@dataclass(frozen=True)
class Call:
    """One call: the tool's name, and its arguments typed as JSON types them."""

    name: str
    arguments: dict[str, Any]

    def survives(self) -> bool:
        """Whether the parameters' names, which DSML leaves unescaped, are read back as they are."""
        return not any(TYPE.search(key) for key in self.arguments)


@dataclass(frozen=True)
class Dialect:
    """The names of the three tags."""

    block: str
    invoke: str
    parameter: str

    @property
    def opening(self) -> str:
        """How a block of calls begins; what precedes it is the turn's content."""
        return f"\n\n<{DSML}{self.block}"


V4 = Dialect("tool_calls", "invoke", "parameter")
V41 = Dialect(" calls", " invoke", " parameter")  # September's; read, never written
TYPE = re.compile(r'" string="(true|false)">')


def render_calls(calls: Sequence[Call], dialect: Dialect) -> str:
    """A block of calls with the blank line before it; nothing where there are none."""
    if not calls:
        return ""
    inside = "\n".join(_render_call(call, dialect) for call in calls)
    return f"{dialect.opening}>\n{inside}\n</{DSML}{dialect.block}>"


def _render_call(call: Call, dialect: Dialect) -> str:
    parameters = "\n".join(_render_parameter(key, value, dialect) for key, value in call.arguments.items())
    return f'<{DSML}{dialect.invoke} name="{call.name}">\n{parameters}\n</{DSML}{dialect.invoke}>'


def _render_parameter(key: str, value: Any, dialect: Dialect) -> str:
    """Strings are raw, every other value is JSON."""
    is_string = isinstance(value, str)
    text = value if is_string else json.dumps(value, ensure_ascii=False)
    return (
        f'<{DSML}{dialect.parameter} name="{key}" string="{str(is_string).lower()}">{text}</{DSML}{dialect.parameter}>'
    )
