"""A warm worker: it waits for one command after another, and runs each in namespaces of its own.

    worker (outside, trusted)       reads a job, writes the identity maps, watches time, memory and output, answers
      +- holder                     enters user, mount, network, ... namespaces; the next child is process 1 of its own
           +- first process         shows a new root with nothing but Python and a scratch folder; its end kills all
                +- program          limits, no privileges, no new ones, a filter of system calls; the model's code

A job is a line of JSON on stdin, its result a line on stdout; the end of input ends the worker. Standard library only:
it starts without site-packages, by `rewards.sandbox.local`, and is never imported.
"""

import fcntl
import json
import os
import re
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NoReturn

import inside
import kernel

TICK = 0.02  # seconds between two looks at the memory in use
HELD = re.compile(r"^Rss(?:Anon|Shmem):\s+(\d+) kB$", re.MULTILINE)
FAILED = 70  # exit code of a process that could not do its part; what it says is the fault that is reported
Job = dict[str, Any]


class Outcome:
    """What comes of a command while it runs."""

    def __init__(self, limits: dict[str, Any]) -> None:
        self.limits = limits
        self.started = time.monotonic()
        self.output = {"stdout": b"", "stderr": b""}
        self.ended = "exit"

    def left(self) -> float:
        """Seconds until the wall limit."""
        return self.started + self.limits["wall_seconds"] - time.monotonic()

    def take(self, name: str, data: bytes) -> None:
        """Keep output up to its cap; beyond it the command is over."""
        self.output[name] += data
        if len(self.output[name]) > self.limits["output_bytes"]:
            self.output[name] = self.output[name][: self.limits["output_bytes"]]
            self.ended = "output"

    def result(self, told: str, cpu_seconds: float) -> Job:
        """`told` is what the first process reports: `+` as the program starts, then its exit code; or a fault."""
        if told.startswith("files: "):
            return {"refused": told}
        if not told.startswith("+") and self.ended == "exit":
            words = self.output["stderr"].decode(errors="replace").strip()
            return {"fault": told or words or "the sandbox ended before its program began"}
        exited = self.ended == "exit" and re.fullmatch(r"\+-?\d+", told) is not None
        return {
            "ended": "killed" if self.ended == "exit" and not exited else self.ended,
            "exit_code": int(told[1:]) if exited else None,
            "wall_seconds": round(time.monotonic() - self.started, 4),
            "cpu_seconds": round(cpu_seconds, 4),
        } | {name: data.decode(errors="replace") for name, data in self.output.items()}


def serve(isolation: str, own: list[str]) -> None:
    """Answer jobs until there are no more."""
    inside.warm_up(own)
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)  # whatever a program orphans is found below the worker
    for line in sys.stdin:
        sys.stdout.write(json.dumps(perform(json.loads(line), isolation)) + "\n")
        sys.stdout.flush()


def perform(job: Job, isolation: str) -> Job:
    """Run one command to its end, and everything that it left behind to theirs."""
    outcome = Outcome(job["limits"])
    with tempfile.TemporaryDirectory(prefix="polymath-") if isolation == "none" else nullcontext("") as folder:
        (out, out_w), (err, err_w), (report, report_w), (ready, ready_w), (go, go_w) = (os.pipe() for _ in range(5))
        given = _sealed(job["stdin"])
        holder = os.fork()
        if not holder:
            forked(lambda: _hold(job, isolation, folder, (ready_w, go), (given, out_w, err_w), report_w), report_w)
        _close((out_w, err_w, report_w, ready_w, go, given))
        if os.read(ready, 1):
            _write_maps(holder, isolation)
            os.write(go_w, b"1")
        _watch(outcome, holder, {out: "stdout", err: "stderr"})
        _kill_below(os.getpid())
        result = outcome.result(os.read(report, 4096).decode(), _reap())
        _close((out, err, report, ready, go_w))
    return result


def forked(work: Callable[[], object], report: int) -> NoReturn:
    """What a forked process does in place of going on; what goes wrong is reported."""
    try:
        work()
    except BaseException as error:
        os.write(report, f"{type(error).__name__}: {error}".encode(errors="replace")[:4000])
    finally:
        os._exit(FAILED)


def _sealed(text: str) -> int:
    """A file in memory to read from, and nothing else."""
    fd = os.memfd_create("stdin", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(text.encode(errors="replace"))
    os.lseek(fd, 0, os.SEEK_SET)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return fd


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)


# ---- outside: identity, time, memory, output, and the end of all that was started


def _write_maps(pid: int, isolation: str) -> None:
    """Who the users of a namespace are outside: the program is nobody, or the worker's user who is no root."""
    if isolation != "namespaces":
        return
    if os.geteuid() == 0:
        maps = dict.fromkeys(("uid", "gid"), f"0 0 1\n{inside.PROGRAM} {inside.NOBODY} 1\n")
    else:
        Path(f"/proc/{pid}/setgroups").write_text("deny")
        maps = {"uid": f"0 {os.geteuid()} 1\n", "gid": f"0 {os.getegid()} 1\n"}
    for kind, text in maps.items():
        Path(f"/proc/{pid}/{kind}_map").write_text(text)


def _watch(outcome: Outcome, holder: int, pipes: dict[int, str]) -> None:
    """Take in output until the holder has ended, or a limit is reached."""
    poll, end, looked = select.poll(), os.pidfd_open(holder), time.monotonic()
    for fd in (*pipes, end):
        poll.register(fd, select.POLLIN)
    running = True
    while running and outcome.ended == "exit":
        ready = [fd for fd, _ in poll.poll(1000 * max(0.0, min(TICK, outcome.left())))]
        running = end not in ready
        _drain(outcome, [fd for fd in ready if fd != end], pipes, poll)
        if outcome.ended == "exit" and time.monotonic() - looked > TICK:
            looked = time.monotonic()
            outcome.ended = "memory" if _memory(holder) > outcome.limits["memory_bytes"] else "exit"
        if running and outcome.ended == "exit" and outcome.left() <= 0:
            outcome.ended = "wall"
    poll.unregister(end)
    os.close(end)
    # What still lies in the pipes: without namespaces somebody may hold them open, so there may be no end to wait for
    while outcome.ended == "exit" and (ready := [fd for fd, event in poll.poll(0) if event & select.POLLIN]):
        _drain(outcome, ready, pipes, poll)


def _drain(outcome: Outcome, ready: list[int], pipes: dict[int, str], poll: "select.poll") -> None:
    for fd in ready:
        data = os.read(fd, 1 << 16)
        outcome.take(pipes[fd], data)
        if not data:
            poll.unregister(fd)


def _below(pid: int) -> list[int]:
    """All processes below one, its children first."""
    found = [pid]
    for parent in found:
        try:
            for task in os.listdir(f"/proc/{parent}/task"):
                found += map(int, Path(f"/proc/{parent}/task/{task}/children").read_text().split())
        except OSError:  # it ended meanwhile
            continue
    return found[1:]


def _memory(holder: int) -> int:
    """Bytes that a command's processes hold, shared memory as often as it is held, pages of files left out."""
    total = 0
    for pid in _below(holder):
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        total += sum(int(kilobytes) << 10 for kilobytes in HELD.findall(status))
    return total


def _kill_below(pid: int) -> None:
    """Kill all processes below one until none is left but zombies; a namespace's first process takes the rest along."""
    while alive := [child for child in _below(pid) if not _is_zombie(child)]:
        for child in alive:
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.0005)


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith(("Z", "X"))
    except OSError:
        return True


def _reap() -> float:
    """Wait for every child, adopted ones included; seconds of CPU that they used."""
    seconds = 0.0
    while True:
        try:
            _, _, usage = os.wait4(-1, 0)
        except ChildProcessError:
            return seconds
        seconds += usage.ru_utime + usage.ru_stime


# ---- the holder


def _hold(
    job: Job, isolation: str, folder: str, signals: tuple[int, int], streams: tuple[int, ...], report: int
) -> None:
    """Enter namespaces, have the maps written, and wait for the first process."""
    os.setsid()
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    Path("/proc/self/oom_score_adj").write_text("1000")  # where memory is short, this goes before anything else
    if isolation == "namespaces":
        kernel.unshare(kernel.NEWUSER | kernel.NAMESPACES)
    ready, go = signals
    os.write(ready, b"1")
    os.read(go, 1)
    _close_all_but((*streams, report))
    if isolation == "bubblewrap":
        _enter_bubblewrap(job, streams, report)
    first = os.fork()
    if not first:
        forked(lambda: inside.run(job, isolation, folder, streams, report), report)
    os.waitpid(first, 0)


def _close_all_but(keep: tuple[int, ...]) -> None:
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd not in keep:
            try:
                os.close(fd)
            except OSError:  # the one that the list was read from
                continue


def _enter_bubblewrap(job: Job, streams: tuple[int, ...], report: int) -> NoReturn:
    """The same root by bubblewrap, which is allowed what this process is not; in it, this file again."""
    copied = fcntl.fcntl(_sealed(json.dumps(job)), fcntl.F_DUPFD, 64)
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 64) for fd in (*streams, report)]
    for target, fd in enumerate((*high[:3], copied, high[3])):  # 0 to 2 are the program's, 3 the job, 4 the report
        os.dup2(fd, target)
    os.closerange(5, 128)
    here = os.path.dirname(os.path.abspath(__file__))
    places = dict.fromkeys((*inside.LIBRARIES, *job["python"]))
    shown = [word for place in places if os.path.exists(place) for word in inside.as_bubblewrap(place)]
    devices = [word for name in inside.DEVICES for word in ("--dev-bind", f"/dev/{name}", f"/dev/{name}")]
    size = str(job["limits"]["scratch_bytes"])
    tmp = () if any(place.startswith("/tmp/") for place in places) else ("--symlink", inside.SCRATCH, "/tmp")
    command = [
        "bwrap", "--unshare-all", "--die-with-parent", "--clearenv", "--hostname", "sandbox", *shown, *devices,
        "--ro-bind", here, "/worker", "--size", size, "--tmpfs", inside.SCRATCH, *tmp,
        "--remount-ro", "/", "--chdir", inside.SCRATCH,
        "--setenv", "PYTHONHASHSEED", "0", sys.executable, "-s", "-S", "-P", "/worker", "inside",
    ]  # fmt: skip
    os.execvp("bwrap", command)


def _run_inside() -> None:
    """What bubblewrap starts: the job lies on descriptor 3, the report goes to 4."""
    with os.fdopen(3) as file:
        job = json.load(file)
    forked(lambda: inside.run(job, "bubblewrap", "", (0, 1, 2), 4), 4)


if __name__ == "__main__":
    _run_inside() if sys.argv[1] == "inside" else serve(sys.argv[1], sys.argv[2:])
