"""YAML with line numbers, `--set` overrides, and errors that say where the user has to look."""

import difflib
import reprlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import yaml

# A date of month 13 and an integer of 5000 digits are plain ValueErrors; an alias inside its own anchor recurses
YAML_ERRORS = (yaml.YAMLError, ValueError, RecursionError)
Location = tuple[str | int, ...]
MOST = 100_000  # values of a recipe
DEEPEST = 200  # brackets; reading takes the square of it


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and the path of keys that leads to it."""

    location: Location
    message: str


class RecipeError(ValueError):
    """A recipe that cannot be run; `problems` are worded for the user, `str()` joins them."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass
class Source:
    """A YAML file as data, with the line of every key."""

    path: Path
    data: dict[str, Any]
    lines: dict[Location, int]
    overrides: dict[Location, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Source":
        """Raises `RecipeError` for a missing file, broken YAML, a key that is not text, or a key given twice."""
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise RecipeError([f"{path}: not UTF-8 at byte {error.start}: save it as UTF-8"]) from error
        except OSError as error:
            raise RecipeError([f"{path}: cannot be read: {error.strerror}"]) from error
        if max(accumulate((sign in "[{") - (sign in "]}") for sign in text), default=0) > DEEPEST:
            raise RecipeError([f"{path}: not YAML: brackets are nested over {DEEPEST} deep: close them"])
        try:
            node, data = yaml.compose(text, yaml.SafeLoader), yaml.safe_load(text)
        except YAML_ERRORS as error:
            raise RecipeError([_not_yaml(path, error)]) from error
        if not isinstance(node, yaml.MappingNode) or not isinstance(data, dict):
            raise RecipeError([f"{path}: a recipe is a mapping of keys to values, beginning with `name:`"])
        lines: dict[Location, int] = {}
        try:
            problems = [f"{path}:{line}: {message}" for line, message in _index(node, (), lines)]
        except RecursionError as error:
            raise RecipeError([f"{path}: an alias stands inside what it stands for: write it out"]) from error
        except OverflowError as error:
            raise RecipeError([f"{path}: holds over {MOST} values, aliases written out: use fewer of them"]) from error
        if problems:
            raise RecipeError(problems)
        return cls(path, data, lines)

    def override(self, location: Location, value: str) -> None:
        """Set one value, written as YAML; a number in the path is a place in a list.

        Missing mappings on the way are made, and what two keys have in common by an alias is the other's no more.
        """
        given = f"--set {'.'.join(map(str, location))}={value}"
        try:
            parsed = yaml.safe_load(value)
        except YAML_ERRORS as error:
            raise RecipeError([f"{given}: the value is not YAML"]) from error
        target: Any = self.data
        at: Location = ()
        for name in location[:-1]:
            key = _key(target, name, at, given)
            held = target[key] if isinstance(target, list) else target.get(key)
            target[key] = held.copy() if isinstance(held, dict | list) else {}
            target, at = target[key], (*at, key)
        at = (*at, key := _key(target, location[-1], at, given))
        target[key] = parsed
        for known in (self.lines, self.overrides):  # what stood there is gone
            for gone in [own for own in known if own[: len(at)] == at]:
                del known[gone]
        self.overrides[at] = value

    def where(self, location: Location) -> str:
        """`file:line`, or the override that set the value, for the deepest key that is known.

        Of a key of the file some of whose fields were set from outside, both: either may be what is wrong.
        """
        for end in range(len(location), 0, -1):
            part = location[:end]
            if part in self.lines:
                within = self._within(part) if part == location else ""
                return f"{self.path}:{self.lines[part]}{f' with {within}' if within else ''}"
            if within := self._within(part):
                return within
        return str(self.path)

    def _within(self, location: Location) -> str:
        """The overrides of a value, or of fields in it."""
        found = {own: value for own, value in self.overrides.items() if own[: len(location)] == location}
        return " ".join(f"--set {'.'.join(map(str, own))}={value}" for own, value in found.items())

    def holds(self, location: Location) -> bool:
        """Whether this key was given, or fields in it, in the file or by an override."""
        return location in self.lines or bool(self._within(location))


def _key(target: Any, name: str | int, at: Location, given: str) -> Any:
    """What a name in the path of an override is to the value that it leads into."""
    if not isinstance(target, list):
        return name
    if str(name).isdecimal() and int(name) < len(target):
        return int(name)
    raise RecipeError(
        [f"{given}: {'.'.join(map(str, at))} is a list of {len(target)}; {name!r} is no place in it, from 0"]
    )


def _not_yaml(path: Path, error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return f"{path}: not YAML: {'it is nested too deeply' if isinstance(error, RecursionError) else error}"
    context, problem = getattr(error, "context", ""), getattr(error, "problem", "")
    remedy = ": indent with spaces" if "\\t" in problem else ""
    said = " ".join(part for part in (context and f"{context},", problem) if part)
    return f"{path}:{mark.line + 1}: not YAML: {said}{remedy}"


def shown(given: Any) -> str:
    """A value as a message shows it, in short where it is long."""
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother = 3, 200, 200
    return short.repr(given)


def _index(node: yaml.Node, at: Location, lines: dict[Location, int]) -> Iterable[tuple[int, str]]:
    """Fill `lines`; yields what the YAML grammar allows and a recipe does not.

    Raises `OverflowError` where there are more values than anybody writes.
    """
    if len(lines) > MOST:
        raise OverflowError
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            location = (*at, key.value)
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                yield line, "a key must be plain text"
                continue
            if location in lines:
                yield line, f"{key.value!r} is given twice, first in line {lines[location]}"
            lines[location] = line
            yield from _index(value, location, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*at, index)] = value.start_mark.line + 1
            yield from _index(value, (*at, index), lines)


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the most similar known word, else the list of all."""
    known = list(known)
    match = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {match[0]!r}?" if match else f"; known are {', '.join(known) or 'none'}"
