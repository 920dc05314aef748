"""The sandbox of this machine: warm workers, each of which runs one command at a time in namespaces of its own."""

import asyncio
import json
import os
import platform
import queue
import select
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, Literal

from rewards.sandbox import Limits, Result, SandboxError

Isolation = Literal["namespaces", "bubblewrap", "none"]
WORKER = Path(__file__).parent / "worker"
DRIVER = Path(__file__).parent / "driver.py"  # tries a program on tests; compiled once in each worker
GRACE = 20.0  # seconds beyond a command's wall limit after which its worker counts as broken

KEEPS = {  # protection -> what it keeps from a program
    "mount": "this machine's files: it sees libraries, Python and an empty folder, all but that read-only",
    "scratch": "leaving a file behind: its folder is memory of a bounded size, and ends with it",
    "pid": "other processes: it sees its own alone, and all of them end with it",
    "network": "every network, loopback included",
    "ipc": "shared memory and queues of others",
    "user": "being anybody outside: its user has no right on this machine",
    "limits": "more than its share of time, memory, processes, files and output",
    "process_group": "signals to and from who asked",
    "no_new_privileges": "privileges, and programs that would give some",
    "system_calls": "sockets, tracing, mounts, namespaces and other calls that no answer needs",
}


def protections_of(isolation: Isolation) -> frozenset[str]:
    """What an isolation protects from, for this user.

    The limits of processes do not bind root, as whom bubblewrap runs programs where it is started by root; and without
    namespaces a program is the same user as who started it, unless that is root.
    """
    is_root = os.geteuid() == 0
    if isolation == "namespaces":
        return frozenset(KEEPS)
    if isolation == "bubblewrap":
        return frozenset(KEEPS) - ({"user", "limits"} if is_root else set())
    return frozenset({"limits", "no_new_privileges", "system_calls"} | ({"process_group"} if is_root else set()))


REMEDY = (
    "install bubblewrap; or allow user namespaces (sysctl user.max_user_namespaces=15000, on Ubuntu besides "
    "kernel.apparmor_restrict_unprivileged_userns=0; in a container its seccomp profile); or, where the model's code "
    "may do harm to this machine, demand less in `sandbox.require`"
)


class Worker:
    """One process that runs commands; started again where it breaks."""

    def __init__(self, isolation: Isolation) -> None:
        self.isolation: Isolation = isolation
        self.process: subprocess.Popen[bytes] | None = None

    def perform(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Run a job. Raises `SandboxError` where the worker ends or does not answer."""
        process = self.process or self._start()
        assert process.stdin and process.stdout
        try:
            process.stdin.write(json.dumps(job).encode() + b"\n")
            process.stdin.flush()
            answer = json.loads(self._line(process.stdout.fileno(), job["limits"]["wall_seconds"] + GRACE))
        except (OSError, ValueError) as error:
            self.close()
            raise SandboxError(f"a worker of the sandbox broke: {error or 'it ended'}") from error
        if "refused" in answer:
            raise ValueError(f"the sandbox cannot hold what it was given: {answer['refused']}")
        if "fault" in answer:
            raise SandboxError(f"the sandbox could not run a program: {answer['fault']}")
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        self.process = subprocess.Popen(
            [base_python(), "-s", "-S", "-P", str(WORKER), self.isolation, str(DRIVER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
            env={"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},  # nothing of this process's own
            start_new_session=True,  # Ctrl-C is for who asked, who then closes the workers
        )
        return self.process

    def _line(self, fd: int, seconds: float) -> bytes:
        poll, line = select.poll(), b""
        poll.register(fd, select.POLLIN)
        while not line.endswith(b"\n"):
            if not poll.poll(1000 * seconds):
                raise ValueError(f"no answer {GRACE:.0f} s after the command's time was over")
            data = os.read(fd, 1 << 20)
            if not data:
                raise ValueError("it ended")
            line += data
        return line

    def close(self) -> None:
        """End the worker, and with it whatever it runs."""
        if self.process is None:
            return
        process, self.process = self.process, None
        for stream in (process.stdin, process.stdout):
            if stream:
                with suppress(BrokenPipeError):
                    stream.close()
        process.kill()
        process.wait()


class LocalSandbox:
    """Runs commands on this machine, as many at a time as it has cores.

    `require` names the protections without which nothing is run; `SandboxError` says which are missing.
    """

    def __init__(
        self,
        require: Sequence[str] = ("mount", "pid", "network", "limits"),
        workers: int = 0,
        isolation: Isolation | None = None,
    ) -> None:
        self.isolation: Isolation = isolation or strongest()
        self.protections = protections_of(self.isolation)
        if missing := sorted(set(require) - self.protections):
            raise SandboxError(
                f"this machine does not grant the sandbox {', '.join(missing)} (active: "
                f"{', '.join(sorted(self.protections))}): {REMEDY}"
            )
        self.closed = False
        self.count = workers or os.cpu_count() or 1
        self._free: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self._workers = [Worker(self.isolation) for _ in range(self.count)]
        for worker in self._workers:
            self._free.put(worker)
        self._threads = ThreadPoolExecutor(self.count, thread_name_prefix="sandbox")

    async def exec(
        self, files: Mapping[str, str], command: Sequence[str], stdin: str = "", limits: Limits | None = None
    ) -> Result:
        """Run a command as `rewards.sandbox.Sandbox` says."""
        job = _job(files, command, stdin, limits or Limits())
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._perform, job)

    def _perform(self, job: Mapping[str, Any]) -> Result:
        worker = self._free.get()
        try:
            try:
                return Result(**worker.perform(job))
            except SandboxError:
                if self.closed:
                    raise
                return Result(**worker.perform(job))  # once more, by a new one
        finally:
            self._free.put(worker)

    def close(self) -> None:
        """End all workers; what they run ends with them."""
        self.closed = True
        for worker in self._workers:
            worker.close()
        self._threads.shutdown(wait=False, cancel_futures=True)


def _job(files: Mapping[str, str], command: Sequence[str], stdin: str, limits: Limits) -> dict[str, Any]:
    """A command as a worker reads it. Raises `ValueError` where it is none."""
    if not command:
        raise ValueError("a command of no words")
    for name in files:
        if os.path.isabs(name) or ".." in Path(name).parts or not Path(name).name or "\0" in name:
            raise ValueError(f"{name!r} is no relative path within the scratch folder")
    return {
        "files": dict(files),
        "command": list(command),
        "stdin": stdin,
        "limits": asdict(limits),
        "python": [sys.base_prefix] if sys.base_prefix != "/usr" else [],
    }


def base_python() -> str:
    """The interpreter itself, apart from any virtual environment."""
    return getattr(sys, "_base_executable", sys.executable)


@cache
def strongest() -> Isolation:
    """The strongest isolation that this machine grants, found out by trying; raises `SandboxError` for none."""
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"):
        raise SandboxError(f"the sandbox is made of Linux on x86_64 or aarch64; this is {platform.platform()}")
    candidates: list[Isolation] = ["namespaces", *(["bubblewrap"] if shutil.which("bwrap") else []), "none"]
    faults = []
    for isolation in candidates:
        fault = attempt(isolation)
        if not fault:
            return isolation
        faults.append(f"{isolation}: {fault}")
    raise SandboxError(f"no program can be run here ({'; '.join(faults)}): {REMEDY}")


def attempt(isolation: Isolation) -> str:
    """Try an isolation; why a program cannot be run under it, nothing where it can."""
    worker = Worker(isolation)
    try:
        job = _job({"try.py": "import xmlrpc.client\nprint(1)"}, ["python", "try.py"], "", Limits())
        result = worker.perform(job)  # that module is never there before it is asked for
    except SandboxError as error:
        return str(error)
    finally:
        worker.close()
    return "" if result["stdout"] == "1\n" else result["stderr"].strip().rpartition("\n")[2] or "it printed nothing"


def survey() -> tuple[Isolation, dict[str, tuple[bool, str]]]:
    """The isolation in use, and for each protection whether it is active and what it keeps from a program."""
    isolation = strongest()
    return isolation, {name: (name in protections_of(isolation), keeps) for name, keeps in KEEPS.items()}
