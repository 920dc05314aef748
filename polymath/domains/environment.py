"""What executes the calls of an episode."""

import json
from typing import Any, Protocol

from polymath.domains.agent.desk import Desk
from polymath.domains.python import PythonEnvironment, load


class Environment(Protocol):
    """Tools with a state of their own; deterministic, so that an episode's calls can be made again."""

    def run(self, name: str, arguments: str) -> str:
        """The result of a call as text; never raises."""
        ...

    def state(self) -> Any:
        """What the calls so far have left, as JSON data."""
        ...


def open_environment(description: str) -> Environment | None:
    """A fresh environment as a task describes it; None where the description is empty.

    `{"kind": "desk", "tools": [...], "state": {...}}`, or a user's own
    `{"kind": "python", "factory": "module:name", "arguments": {...}}`.
    """
    if not description:
        return None
    given = json.loads(description)
    if given["kind"] == "python":
        return PythonEnvironment(load(given["factory"])(**given["arguments"]))
    return Desk(given["state"], tuple(given["tools"]))
