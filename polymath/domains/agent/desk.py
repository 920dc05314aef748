"""A desk: numbers, units, an address book, a calendar and files; what an agent works on, and can be judged by."""

import copy
from typing import Any, Literal

from polymath.tools import Tool, Toolbox

Day = Literal["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"]
Unit = Literal["km", "m", "cm", "h", "min", "s", "kg", "g"]
SIZES = {"km": 100_000, "m": 100, "cm": 1, "h": 3600, "min": 60, "s": 1, "kg": 1000, "g": 1}
KINDS = (("km", "m", "cm"), ("h", "min", "s"), ("kg", "g"))
KNOWN_TOOLS = ("calculate", "convert", "look_up", "save", "add_event", "list_events", "read_file", "write_file")
HELD_OUT_TOOLS = ("delete", "cancel_event", "append_file")  # offered in evaluation alone


class Desk:
    """The tools and the state that they share: `book`, `events` and `files`, all of them plain JSON data."""

    def __init__(self, state: dict[str, Any], tools: tuple[str, ...] = (*KNOWN_TOOLS, *HELD_OUT_TOOLS)) -> None:
        """`tools` names those on offer, in the order in which they are listed; `state` is copied."""
        self.book: dict[str, str] = dict(state["book"])
        self.events: list[list[Any]] = copy.deepcopy(state["events"])
        self.files: dict[str, str] = dict(state["files"])
        functions: dict[str, Tool] = {name: getattr(self, name) for name in (*KNOWN_TOOLS, *HELD_OUT_TOOLS)}
        self.toolbox = Toolbox(functions[name] for name in tools)

    def run(self, name: str, arguments: str) -> str:
        """The result of a call, as text."""
        return self.toolbox.run(name, arguments)

    def state(self) -> dict[str, Any]:
        """What the calls so far have left; the order of events does not matter."""
        return {"book": self.book, "events": sorted(self.events), "files": self.files}

    def calculate(self, a: int, operation: Literal["plus", "minus", "times"], b: int) -> int:
        """Calculate with two whole numbers.

        Args:
            a: The first number.
            operation: What to do.
            b: The second number.
        """
        if abs(a) > 10**9 or abs(b) > 10**9:
            raise ValueError("numbers go up to 1000000000")
        return {"plus": a + b, "minus": a - b, "times": a * b}[operation]

    def convert(self, value: int, unit: Unit, to: Unit) -> int:
        """Convert to a smaller unit.

        Args:
            value: How many.
            unit: The unit it has.
            to: The unit it gets.
        """
        if not any(unit in kind and to in kind for kind in KINDS) or SIZES[unit] < SIZES[to]:
            raise ValueError(f"no way from {unit} to {to}")
        return value * (SIZES[unit] // SIZES[to])

    def look_up(self, name: str) -> str:
        """Read an entry of the address book.

        Args:
            name: Whose entry.
        """
        if name not in self.book:
            raise ValueError(f"no entry {name}")
        return self.book[name]

    def save(self, name: str, entry: str) -> str:
        """Write an entry of the address book.

        Args:
            name: Whose entry.
            entry: What to write.
        """
        self.book[name] = entry
        return "saved"

    def add_event(self, day: Day, hour: int, title: str) -> str:
        """Put an event into the calendar.

        Args:
            day: The day of the week.
            hour: From 0 to 23.
            title: What it is.
        """
        if not 0 <= hour < 24:
            raise ValueError(f"no hour {hour}")
        self.events.append([day, hour, title])
        return "booked"

    def list_events(self, day: Day) -> str:
        """Read the events of a day.

        Args:
            day: The day of the week.
        """
        return ", ".join(f"{hour} {title}" for of, hour, title in sorted(self.events) if of == day) or "none"

    def read_file(self, name: str) -> str:
        """Read a file.

        Args:
            name: The file's name.
        """
        if name not in self.files:
            raise ValueError(f"no file {name}")
        return self.files[name]

    def write_file(self, name: str, text: str) -> str:
        """Write a file.

        Args:
            name: The file's name.
            text: What to write.
        """
        self.files[name] = text
        return "written"

    def delete(self, name: str) -> str:
        """Delete an entry of the address book.

        Args:
            name: Whose entry.
        """
        if self.book.pop(name, None) is None:
            raise ValueError(f"no entry {name}")
        return "deleted"

    def cancel_event(self, day: Day, hour: int) -> str:
        """Take an event out of the calendar.

        Args:
            day: The day of the week.
            hour: From 0 to 23.
        """
        left = [event for event in self.events if event[:2] != [day, hour]]
        if len(left) == len(self.events):
            raise ValueError(f"no event on {day} at {hour}")
        self.events = left
        return "cancelled"

    def append_file(self, name: str, text: str) -> str:
        """Add a line to a file.

        Args:
            name: The file's name.
            text: The line.
        """
        if name not in self.files:
            raise ValueError(f"no file {name}")
        self.files[name] = f"{self.files[name]}\n{text}"
        return "added"
