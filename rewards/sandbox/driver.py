"""Tries a model's program on each test; runs in the sandbox, standard library only.

Reads `given.json` (`tests`, each an `expression` to evaluate in the program's names or a `stdin` to run it on, and
`seconds` for each) and `program.py`; writes one line `[place, {"value": ...}]` or `[place, {"fault": ...}]` for each to
what was stdout. The program runs in children, which have no way to those lines. One child evaluates one expression
after another; where it dies, the next goes on behind that one. Each run on a stdin has its own.
"""

import atexit
import json
import os
import select
import signal
import sys
import threading
import time
import types
from collections.abc import Callable
from typing import Any

LONGEST = 1 << 16  # bytes of one answer
LATE = "no answer in time"
Test = dict[str, str]


def encode(value: Any, depth: int = 0) -> Any:
    """A plain value as JSON, a subclass's as that of its base; raises `TypeError` on anything else.

    The base's own methods read it, so what a subclass says of itself is not asked.
    """
    if depth > 100:
        raise TypeError("nested too deep")
    if value is None or type(value) in (bool, int, float, str):
        return value
    for base, read in BASES.items():
        if isinstance(value, base):
            return read(value)
    bases: tuple[Any, ...] = (list, tuple, set, frozenset)
    for base in bases:
        if isinstance(value, base):
            return [base.__name__, [encode(item, depth + 1) for item in base.__iter__(value)]]
    if isinstance(value, dict):
        items = dict.items(value)
        return ["dict", [[encode(key, depth + 1), encode(item, depth + 1)] for key, item in items]]
    raise TypeError(f"gave a {type(value).__name__}, which is no plain value")


BASES: dict[type, Callable[[Any], Any]] = {
    int: lambda value: int.__add__(value, 0),
    float: lambda value: float.__add__(value, 0.0),
    str: lambda value: str.__add__(value, ""),
    bytes: lambda value: ["bytes", bytes.hex(value)],
    complex: lambda value: ["complex", [complex.__add__(value, 0j).real, complex.__add__(value, 0j).imag]],
}


class Child:
    """A process of its own group, with a pipe to this one."""

    def __init__(self, work: Callable[[int], None], private: tuple[int, ...]) -> None:
        self.data = b""
        self.read, write = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            try:
                for fd in (*private, self.read):
                    os.close(fd)
                os.setsid()
                work(write)
            finally:
                os._exit(1)
        os.close(write)

    def take(self, until: bytes, deadline: float) -> bool:
        """Read to a mark, or to the end where there is none; whether it came in time and within the longest answer."""
        poll = select.poll()
        poll.register(self.read, select.POLLIN)
        while not (until and until in self.data):
            left = deadline - time.monotonic()
            if left <= 0 or len(self.data) > LONGEST or not poll.poll(1000 * left):
                return False
            piece = os.read(self.read, LONGEST)
            if not piece:
                return not until
            self.data += piece
        return True

    def wait(self, deadline: float) -> int:
        """Its exit code, once it has ended by itself; that of a kill where it does not in time."""
        end = os.pidfd_open(self.pid)
        poll = select.poll()
        poll.register(end, select.POLLIN)
        poll.poll(1000 * max(0.0, deadline - time.monotonic()))
        os.close(end)
        return self.end()

    def end(self) -> int:
        """Kill it and its group; its exit code, where it had ended by itself."""
        os.close(self.read)
        for kill in (os.killpg, os.kill):
            try:
                kill(self.pid, signal.SIGKILL)
            except OSError:  # it has not made its group yet, or has ended
                continue
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def evaluated(expressions: list[str], write: int) -> None:
    """The work of a child: a line for each expression, until one ends it."""
    fault, names = "", {}
    try:
        names = load("program")
    except BaseException as error:
        fault = told(error)
    for expression in expressions:
        answer = {"fault": fault} if fault else answer_to(expression, names)
        os.write(write, json.dumps(answer).encode()[:LONGEST] + b"\n")


def answer_to(expression: str, names: dict[str, Any]) -> dict[str, Any]:
    """What an expression gives."""
    try:
        return {"value": encode(eval(expression, names))}
    except BaseException as error:
        return {"fault": told(error)}


def printed(stdin: str, write: int) -> None:
    """The work of a child: the program itself, on an input; what it prints goes into the pipe."""
    with open("stdin", "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(stdin)
    os.dup2(os.open("stdin", os.O_RDONLY), 0)
    os.dup2(write, 1)
    os.close(write)
    sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.__stdin__, sys.__stdout__ = sys.stdin, sys.stdout  # type: ignore[misc]
    code = 0
    try:
        load("__main__")
    except SystemExit as exit:
        code = 0 if exit.code is None else exit.code if isinstance(exit.code, int) else 1
    except BaseException as error:
        os.write(2, told(error).encode(errors="replace") + b"\n")
        code = 1
    for end in (threading._shutdown, atexit._run_exitfuncs, sys.stdout.flush):  # type: ignore[attr-defined]
        end()
    os._exit(code & 0xFF)


def load(name: str) -> dict[str, Any]:
    """The names of the program, run afresh as the module `name`."""
    program = types.ModuleType(name)
    program.__file__ = "program.py"
    sys.modules[name] = program
    with open("program.py", encoding="utf-8") as file:
        exec(compile(file.read(), "program.py", "exec"), program.__dict__)
    return program.__dict__


def told(error: BaseException) -> str:
    """An exception in a line; its own words may be anything."""
    return f"{type(error).__name__}: {error}"[:200]


class Driver:
    """The tests, in turn."""

    def __init__(self, tests: list[Test], seconds: float, private: tuple[int, ...]) -> None:
        self.tests, self.seconds, self.private = tests, seconds, private
        self.late = False
        self.child: Child | None = None

    def answer(self, place: int) -> dict[str, Any]:
        """What the program gives for one test; nothing more is tried once it has taken too long."""
        if self.late:
            return {"fault": "not tried after a test without an answer in time"}
        deadline = time.monotonic() + self.seconds
        if "expression" in self.tests[place]:
            answer = self.evaluate(place, deadline)
        else:
            answer = self.run(self.tests[place]["stdin"], deadline)
        self.late = answer.get("fault") == LATE
        return answer

    def run(self, stdin: str, deadline: float) -> dict[str, Any]:
        """What the program prints, in a child of its own."""
        child = Child(lambda write: printed(stdin, write), self.private)
        if not child.take(b"", deadline):
            child.end()
            return {"fault": LATE if len(child.data) <= LONGEST else "too much output"}
        code = child.wait(deadline)
        return {"value": child.data.decode(errors="replace")} if code == 0 else {"fault": f"exit code {code}"}

    def evaluate(self, place: int, deadline: float) -> dict[str, Any]:
        """The next answer of the child that evaluates, a new one where there is none."""
        rest = [test["expression"] for test in self.tests[place:] if "expression" in test]
        self.child = self.child or Child(lambda write: evaluated(rest, write), self.private)
        if self.child.take(b"\n", deadline):
            line, _, self.child.data = self.child.data.partition(b"\n")
            try:
                answer = json.loads(line)
                if isinstance(answer, dict):
                    return answer
            except (ValueError, RecursionError):
                pass
            fault = "no answer that can be read"
        else:
            fault = LATE if time.monotonic() >= deadline else "it ended without an answer"
        self.child.end()
        self.child = None
        return {"fault": fault}


def main() -> None:
    """Answer every test."""
    with open("given.json", encoding="utf-8") as file:
        given = json.load(file)
    answers, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # what the program prints while it is asked for values is no answer
    driver = Driver(given["tests"], given["seconds"], (answers, nowhere))
    for place in range(len(given["tests"])):
        line = json.dumps([place, driver.answer(place)])
        os.write(answers, line.encode() + b"\n")


if __name__ == "__main__":
    main()
