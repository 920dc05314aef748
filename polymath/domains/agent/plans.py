"""What an agent can be asked: each plan yields its question, then the calls of each turn, and returns the answer.

What a plan yields after the question is a turn's calls; it is sent their results. An answer of None means that the
request asks for something to be done, not told.
"""

import random
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, get_args

from polymath.domains.agent.desk import KINDS, Day

Calls = list[tuple[str, dict[str, Any]]]
Plan = Generator[str | Calls, list[str], str | None]

NAMES = ("Ada", "Bob", "Eve", "Ivo", "Kim", "Lea", "Max", "Mia", "Ned", "Ola", "Pia", "Rob", "Sam", "Tom", "Uma", "Zoe")
FILES = ("bills", "ideas", "notes", "plans", "tasks", "trips", "wishes", "drafts")
TITLES = ("lunch", "tennis", "chess", "yoga", "choir", "exam", "talk", "dentist")
DAYS: tuple[str, ...] = get_args(Day)


@dataclass(frozen=True)
class Scene:
    """What a plan draws its request from: a source of chance, the desk's state, and how large numbers get."""

    rng: random.Random
    state: dict[str, Any]
    max_number: int

    def say(self, *phrasings: str) -> str:
        """One of several ways to ask for the same."""
        return self.rng.choice(phrasings)

    def number(self) -> int:
        return self.rng.randint(10, self.max_number)

    def people(self, count: int) -> list[str]:
        """Different people with an entry in the book."""
        return self.rng.sample(sorted(self.state["book"]), count)

    def file(self) -> str:
        """A file that is there."""
        return self.rng.choice(sorted(self.state["files"]))


def calculate(scene: Scene) -> Plan:
    """Calculate with two numbers."""
    a, b = scene.number(), scene.number()
    operation = scene.rng.choice(("plus", "minus", "times"))
    yield scene.say("What is {}?", "Work out {}.").format(f"{a} {operation} {b}")
    (value,) = yield [("calculate", {"a": a, "operation": operation, "b": b})]
    return value


def convert(scene: Scene) -> Plan:
    """Convert to a smaller unit."""
    kind = scene.rng.choice(KINDS)
    larger = scene.rng.randrange(len(kind) - 1)
    unit, to = kind[larger], scene.rng.choice(kind[larger + 1 :])
    number = scene.number()
    yield scene.say("How many {to} are {n} {unit}?", "Convert {n} {unit} to {to}.").format(to=to, n=number, unit=unit)
    (value,) = yield [("convert", {"value": number, "unit": unit, "to": to})]
    return value


def look_up(scene: Scene) -> Plan:
    """Tell an entry of the book."""
    (name,) = scene.people(1)
    yield scene.say("What is the entry of {}?", "Find the entry of {}.").format(name)
    (value,) = yield [("look_up", {"name": name})]
    return value


def read_file(scene: Scene) -> Plan:
    """Tell what a file holds."""
    file = scene.file()
    yield scene.say("What is in {}?", "Read {}.").format(file)
    (value,) = yield [("read_file", {"name": file})]
    return value


def save(scene: Scene) -> Plan:
    """Write an entry."""
    name, number = scene.rng.choice(NAMES), scene.number()
    yield scene.say("Save {n} for {name}.", "The entry of {name} is now {n}.").format(name=name, n=number)
    yield [("save", {"name": name, "entry": str(number)})]


def write_file(scene: Scene) -> Plan:
    """Write a file."""
    file, number = scene.rng.choice(FILES), scene.number()
    yield scene.say("Write {n} to {file}.", "Put {n} into {file}.").format(n=number, file=file)
    yield [("write_file", {"name": file, "text": str(number)})]


def add_event(scene: Scene) -> Plan:
    """Book an event."""
    day, hour, title = scene.rng.choice(DAYS), scene.rng.randint(8, 20), scene.rng.choice(TITLES)
    question = scene.say("Book {title} on {day} at {hour}.", "I have {title} on {day} at {hour}.")
    yield question.format(title=title, day=day, hour=hour)
    yield [("add_event", {"day": day, "hour": hour, "title": title})]


def copy_entry(scene: Scene) -> Plan:
    """Write an entry to a file."""
    (name,), file = scene.people(1), scene.rng.choice(FILES)
    yield scene.say("Write the entry of {name} to {file}.", "Copy {name} to {file}.").format(name=name, file=file)
    (value,) = yield [("look_up", {"name": name})]
    yield [("write_file", {"name": file, "text": value})]


def save_file(scene: Scene) -> Plan:
    """Make a file's content an entry."""
    file, name = scene.file(), scene.rng.choice(NAMES)
    yield scene.say("Save what is in {file} for {name}.", "Copy {file} to {name}.").format(file=file, name=name)
    (value,) = yield [("read_file", {"name": file})]
    yield [("save", {"name": name, "entry": value})]


def scale_entry(scene: Scene) -> Plan:
    """Tell an entry times a number."""
    (name,), factor = scene.people(1), scene.number()
    yield scene.say("What is the entry of {name} times {n}?", "Take {name} times {n}.").format(name=name, n=factor)
    (value,) = yield [("look_up", {"name": name})]
    (product,) = yield [("calculate", {"a": int(value), "operation": "times", "b": factor})]
    return product


def move_event(scene: Scene) -> Plan:
    """Book a day's event on another day."""
    day = scene.rng.choice(scene.state["events"])[0]
    to = scene.rng.choice([other for other in DAYS if other != day])
    yield scene.say("Book what I have on {day} on {to} as well.", "Repeat {day} on {to}.").format(day=day, to=to)
    (listed,) = yield [("list_events", {"day": day})]
    hour, title = listed.split(" ", 1)
    yield [("add_event", {"day": to, "hour": int(hour), "title": title})]


def copy_twice(scene: Scene) -> Plan:
    """Write an entry to two files."""
    (name,), files = scene.people(1), scene.rng.sample(FILES, 2)
    yield scene.say("Write the entry of {} to {} and {}.", "Copy {} to {} and {}.").format(name, *files)
    (value,) = yield [("look_up", {"name": name})]
    yield [("write_file", {"name": file, "text": value}) for file in files]


def add_entries(scene: Scene) -> Plan:
    """Tell the sum of two entries."""
    one, two = scene.people(2)
    yield scene.say("Add the entries of {} and {}.", "What are {} and {} together?").format(one, two)
    a, b = yield [("look_up", {"name": one}), ("look_up", {"name": two})]
    (total,) = yield [("calculate", {"a": int(a), "operation": "plus", "b": int(b)})]
    return total


def swap_entries(scene: Scene) -> Plan:
    """Exchange two entries."""
    one, two = scene.people(2)
    yield scene.say("Swap the entries of {} and {}.", "Exchange {} and {}.").format(one, two)
    a, b = yield [("look_up", {"name": one}), ("look_up", {"name": two})]
    yield [("save", {"name": one, "entry": b}), ("save", {"name": two, "entry": a})]


def write_sum(scene: Scene) -> Plan:
    """Write the sum of two entries to a file."""
    (one, two), file = scene.people(2), scene.rng.choice(FILES)
    yield scene.say("Write {} plus {} to {}.", "Add {} and {} and put it into {}.").format(one, two, file)
    a, b = yield [("look_up", {"name": one}), ("look_up", {"name": two})]
    (total,) = yield [("calculate", {"a": int(a), "operation": "plus", "b": int(b)})]
    yield [("write_file", {"name": file, "text": total})]


def delete(scene: Scene) -> Plan:
    """Delete an entry."""
    (name,) = scene.people(1)
    yield scene.say("Delete the entry of {}.", "Remove {}.").format(name)
    yield [("delete", {"name": name})]


def cancel_event(scene: Scene) -> Plan:
    """Cancel an event."""
    day, hour, _ = scene.rng.choice(scene.state["events"])
    yield scene.say("Cancel {day} at {hour}.", "Drop what I have on {day} at {hour}.").format(day=day, hour=hour)
    yield [("cancel_event", {"day": day, "hour": hour})]


def append_entry(scene: Scene) -> Plan:
    """Add an entry to a file."""
    (name,), file = scene.people(1), scene.file()
    yield scene.say("Add the entry of {name} to {file}.", "Append {name} to {file}.").format(name=name, file=file)
    (value,) = yield [("look_up", {"name": name})]
    yield [("append_file", {"name": file, "text": value})]


# By the calls that they take; the plans of held-out tools are never drawn for training
PLANS: dict[int, tuple[Callable[[Scene], Plan], ...]] = {
    1: (calculate, convert, look_up, read_file, save, write_file, add_event),
    2: (copy_entry, save_file, scale_entry, move_event),
    3: (add_entries, copy_twice),
    4: (swap_entries, write_sum),
}
HELD_OUT_PLANS: dict[int, tuple[Callable[[Scene], Plan], ...]] = {1: (delete, cancel_event), 2: (append_entry,)}
