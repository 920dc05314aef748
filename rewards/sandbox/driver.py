"""Evaluates expressions in a model's program; runs in the sandbox, standard library only.

Reads `given.json` (`expressions`, `seconds` for each) and `program.py`; writes one line `[place, {"value": ...}]` or
`[place, {"fault": ...}]` for each to what was stdout. The program runs in a child, which answers one expression after
another and has no way to those lines; where it dies or takes too long, the next child goes on behind that expression.
"""

import json
import os
import select
import signal
import sys
import time
import types
from typing import Any

LONGEST = 1 << 15  # bytes of one answer


def encode(value: Any, depth: int = 0) -> Any:
    """A plain value as JSON; raises `TypeError` on anything else, subclasses of plain types included."""
    if depth > 100:
        raise TypeError("nested too deep")
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) in (list, tuple, set, frozenset):
        return [type(value).__name__, [encode(item, depth + 1) for item in value]]
    if type(value) is dict:
        return ["dict", [[encode(key, depth + 1), encode(item, depth + 1)] for key, item in value.items()]]
    if type(value) is bytes:
        return ["bytes", value.hex()]
    if type(value) is complex:
        return ["complex", [value.real, value.imag]]
    raise TypeError(f"gave a {type(value).__name__}, which is no plain value")


def load() -> dict[str, Any]:
    """The names of the program, run afresh."""
    program = types.ModuleType("program")
    sys.modules["program"] = program
    with open("program.py", encoding="utf-8") as file:
        exec(compile(file.read(), "program.py", "exec"), program.__dict__)
    return program.__dict__


def answer_all(expressions: list[str], write: int) -> None:
    """The work of a child: a line for each expression, until one ends it."""
    os.setsid()
    fault, names = "", {}
    try:
        names = load()
    except BaseException as error:
        fault = f"{type(error).__name__}: {error}"[:200]
    for expression in expressions:
        told = {"fault": fault} if fault else answer(expression, names)
        os.write(write, json.dumps(told).encode()[:LONGEST] + b"\n")


def answer(expression: str, names: dict[str, Any]) -> dict[str, Any]:
    """What an expression gives."""
    try:
        return {"value": encode(eval(expression, names))}
    except BaseException as error:
        return {"fault": f"{type(error).__name__}: {error}"[:200]}


class Child:
    """A process that answers some expressions."""

    def __init__(self, expressions: list[str], seconds: float, private: tuple[int, ...]) -> None:
        self.seconds, self.data = seconds, b""
        self.read, write = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            try:
                for fd in (*private, self.read):
                    os.close(fd)
                answer_all(expressions, write)
            finally:
                os._exit(0)
        os.close(write)

    def line(self) -> tuple[dict[str, Any], bool]:
        """Its next answer, and whether it can go on."""
        deadline, poll = time.monotonic() + self.seconds, select.poll()
        poll.register(self.read, select.POLLIN)
        while b"\n" not in self.data and len(self.data) <= LONGEST:
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(1000 * left):
                return {"fault": "no answer in time"}, False
            piece = os.read(self.read, LONGEST)
            if not piece:
                return {"fault": "it ended without an answer"}, False
            self.data += piece
        line, _, self.data = self.data.partition(b"\n")
        try:
            told = json.loads(line)
        except (ValueError, RecursionError):
            told = None
        return (told, True) if isinstance(told, dict) else ({"fault": "no answer that can be read"}, False)

    def end(self) -> None:
        """Kill it and its group."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except OSError:  # it has not made its group yet
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.read)


def main() -> None:
    """Answer every expression in turn."""
    with open("given.json", encoding="utf-8") as file:
        given = json.load(file)
    expressions, seconds = given["expressions"], given["seconds"]
    answers, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # what the program prints is no answer
    child = None
    for place in range(len(expressions)):
        child = child or Child(expressions[place:], seconds, (answers, nowhere))
        told, goes_on = child.line()
        os.write(answers, json.dumps([place, told]).encode() + b"\n")
        if not goes_on:
            child.end()
            child = None


if __name__ == "__main__":
    main()
