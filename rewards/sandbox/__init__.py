"""Running what a model wrote: one interface, whatever stands behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Ended = Literal["exit", "wall", "memory", "output", "killed"]
MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What a command may use; `memory_bytes` binds each process and all of them together, scratch files apart."""

    wall_seconds: float = 10.0
    cpu_seconds: int = 10
    memory_bytes: int = 512 * MIB
    processes: int = 32
    file_bytes: int = 16 * MIB
    scratch_bytes: int = 32 * MIB
    files: int = 1024
    open_files: int = 64
    output_bytes: int = 1 << 16  # of stdout and of stderr


@dataclass(frozen=True)
class Result:
    """How a command ended.

    `ended` is `exit` where the command itself did, else the limit that it ran into, or `killed` where the machine
    ended it, for want of memory for example. `exit_code` is a signal's number, negative, where one killed it, and None
    where a limit did.
    """

    ended: Ended
    exit_code: int | None
    stdout: str
    stderr: str
    wall_seconds: float
    cpu_seconds: float


class SandboxError(RuntimeError):
    """The sandbox is not what was asked for, or broke; no verdict on what a model wrote."""


class Sandbox(Protocol):
    """What runs commands; a container or a remote machine can stand behind it."""

    protections: frozenset[str]

    async def exec(
        self, files: Mapping[str, str], command: Sequence[str], stdin: str = "", limits: Limits | None = None
    ) -> Result:
        """Run a command in a fresh scratch folder that holds `files` (relative path -> text).

        A `command` of `python FILE ...` is run by this process's version of Python. Raises `SandboxError` where the
        sandbox breaks; whatever the command does is a `Result`.
        """
        ...

    def close(self) -> None:
        """End everything that it runs."""
        ...
