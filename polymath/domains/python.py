"""Tasks and tools of a user's own: `module:name`, found as Python finds modules, beside the recipe or where it runs."""

import importlib
import importlib.util
import json
import os
import random
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import Field, field_validator

from polymath.domains.task import Task
from polymath.source import nearest
from polymath.strict import StrictModel
from polymath.tools import Toolbox

_folders: list[str] = []


class TaskSource(Protocol):
    """What a domain's factory returns."""

    reward: str  # the name of a verifier, `final_state` for an environment

    def draw(self, rng: random.Random) -> Task:
        """One task."""
        ...


class PythonDomain(StrictModel):
    """Tasks that the user's code draws."""

    kind: Literal["python"] = "python"
    factory: str = Field(
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="`module:name` of a callable that returns an object with `reward` and `draw(rng) -> Task`.",
    )
    arguments: dict[str, Any] = Field(default={}, description="What the callable is given, by name.")

    @field_validator("factory")
    @classmethod
    def _module_is_there(cls, factory: str) -> str:
        find_module(factory)
        return factory

    @property
    def reward(self) -> str:
        """The name of the verifier."""
        return self._source().reward

    def draw(self, rng: random.Random) -> Task:
        """One task of the user's."""
        return self._source().draw(rng)

    def source_files(self) -> tuple[Path, ...]:
        """What the tasks come from: when it changes, what was trained on them is out of date."""
        return (find_module(self.factory),)

    def _source(self) -> TaskSource:
        return _made(self.factory, json.dumps(self.arguments, sort_keys=True))


@cache
def _made(factory: str, arguments: str) -> TaskSource:
    return load(factory)(**json.loads(arguments))


def find_module(reference: str) -> Path:
    """The file of `module:name`; raises `ValueError` where there is no such module."""
    module = reference.partition(":")[0]
    look_in([os.getcwd()])
    try:
        spec = importlib.util.find_spec(module)
    except ImportError:
        spec = None
    if spec is None or spec.origin is None:
        raise ValueError(f"no module {module!r}, neither installed nor beside the recipe nor in {os.getcwd()}")
    return Path(spec.origin)


def load(reference: str) -> Any:
    """What `module:name` names; raises `ValueError` where it is not there."""
    find_module(reference)
    module, _, name = reference.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except AttributeError as error:
        known = [own for own in dir(importlib.import_module(module)) if not own.startswith("_")]
        raise ValueError(f"the module {module!r} has no {name!r}{nearest(name, known)}") from error


def look_in(folders: Iterable[str | Path]) -> None:
    """Modules are looked for there as well, after those before it."""
    for folder in [os.path.realpath(given) for given in folders]:
        if folder not in _folders:
            _folders.append(folder)
        if folder not in sys.path:
            sys.path.append(folder)


def folders() -> list[str]:
    """Where modules of users have been looked for: of a run that goes on in another folder they are there still."""
    return [*_folders]


class PythonEnvironment:
    """A user's object as an environment: `tools` names the methods on offer, `state()` is what they leave."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner
        self.toolbox = Toolbox(getattr(owner, name) for name in owner.tools)

    def run(self, name: str, arguments: str) -> str:
        """The result of a call, as text."""
        return self.toolbox.run(name, arguments)

    def state(self) -> Any:
        """What the calls so far have left."""
        return self.owner.state()
