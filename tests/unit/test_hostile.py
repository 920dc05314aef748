"""Programs that attack their judge: none is paid, none outstays its time, and none leaves anything behind."""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import psutil
import pytest

from polymath.completion import Completion
from polymath.sandbox_config import SandboxConfig
from rewards import VERIFIERS, Score, Workbench
from rewards.code_tests import CodeTests
from rewards.sandbox.local import LocalSandbox, strongest

PROGRAMS = sorted((Path(__file__).resolve().parents[1] / "data/hostile").glob("*.py"))
SECONDS = 0.4  # for each test
TESTS = {"add(2, 3)": "5", "add(-7, 7)": "0", "add(10**12, 1)": "1000000000001", "add(0.5, 0.25)": "0.75"}
ANSWER = json.dumps({"tests": [{"expression": given, "expect": expect} for given, expect in TESTS.items()]})
SHARED = ("/tmp", "/var/tmp", "/dev/shm", str(Path.home()))  # where others write meanwhile
OWN = ("/etc", sys.base_prefix, str(Path(__file__).parents[2]))
OURS = ("/.git", "/.venv", "/.pytest_cache", "/.ruff_cache", "/__pycache__", "/pytest-of-", "/runs", "/.hypothesis")
OURS += ("/.cache", "/.npm", "/.gpu", "/models", "/node_modules")

pytestmark = pytest.mark.skipif(strongest() == "none", reason="this machine grants no namespaces")


class Patient(CodeTests):
    """The limits are of wall time, and a program that ends by itself may have to wait for a busy machine."""

    name: Literal["patient"] = "patient"  # type: ignore[assignment]


@pytest.fixture
def canaries() -> Iterator[list[Path]]:
    """A file in each shared place that must not change."""
    planted = [Path(place) / f"canary-{os.getpid()}" for place in SHARED if os.path.isdir(place)]
    for path in planted:
        path.write_text("still here")
    yield planted
    for path in planted:
        path.unlink()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log") / "sandbox.jsonl"


@pytest.fixture(scope="module")
def judge(log: Path) -> Iterator[Workbench]:
    quick = CodeTests(seconds_per_test=SECONDS, memory_mib=256)
    patient = Patient(seconds_per_test=10, memory_mib=256)
    with Workbench({**VERIFIERS, "code_tests": quick, "patient": patient}, SandboxConfig(), log) as bench:
        yield bench


def judged(bench: Workbench, programs: dict[str, str], verifier: str = "code_tests") -> dict[str, Score]:
    completions = [
        Completion(
            ({"content": program, "reasoning": "", "tool_calls": [], "faults": []},), verifier, ANSWER, name=name
        )
        for name, program in programs.items()
    ]
    return dict(zip(programs, asyncio.run(bench.verify(completions)), strict=True))


def worker_pids(bench: Workbench) -> set[int]:
    assert isinstance(bench.sandbox, LocalSandbox)
    return {worker.process.pid for worker in bench.sandbox._workers if worker.process}


def files() -> dict[str, tuple[int, int, int, int]]:
    """What identifies the content of every file that a program could want to change."""
    found = {}
    for root in (*SHARED, *OWN):
        for folder, names, entries in os.walk(root):
            names[:] = [name for name in names if not any(part in f"{folder}/{name}" for part in OURS)]
            for entry in (*names, *entries):
                path = os.path.join(folder, entry)
                try:
                    state = os.lstat(path)
                except OSError:
                    continue
                changes = (0, 0) if entry in names else (state.st_size, state.st_mtime_ns)
                found[path] = (state.st_ino, state.st_mode, *changes)
    return found


def judged_programs() -> set[str]:
    """What runs in sandboxes, or calls itself escaped, but not what the tests beside this one have started."""
    me, found = psutil.Process(), set[str]()
    parent = me.parent() if "PYTEST_XDIST_WORKER" in os.environ else None
    beside = {*parent.children()} - {me} if parent else set[psutil.Process]()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            name = " ".join([*process.cmdline(), process.name()])
            if ("polymath-escape" in name or "rewards/sandbox" in name) and beside.isdisjoint(process.parents()):
                found.add(f"{process.pid} {name}")
    return found


def outstaying(running: set[str]) -> set[str]:
    """What programs left running. One of another test is nobody's child for a moment when its parent is killed."""
    until = time.monotonic() + 2
    while (left := judged_programs() - running) and time.monotonic() < until:
        time.sleep(0.1)
    return left


def test_the_suite_is_whole() -> None:
    assert len(PROGRAMS) >= 40
    for program in PROGRAMS:
        assert program.read_text().startswith('"""'), program


def test_none_is_paid_none_stays_and_nothing_is_left(judge: Workbench, log: Path, canaries: list[Path]) -> None:
    good = judged(judge, {f"good-{n}": "def add(a, b):\n    return a + b" for n in range(16)}, "patient")
    assert {score.value for score in good.values()} == {1.0}
    workers, before, running = worker_pids(judge), files(), judged_programs()
    scores = judged(judge, {program.name: program.read_text() for program in PROGRAMS})
    assert [name for name, score in scores.items() if score.value or score.parts["passed"] == 1] == []
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    times = {
        line["episode"]: line["result"]["wall_seconds"]
        for line in lines
        if "command" in line and line["episode"] in scores
    }
    assert {name: time for name, time in times.items() if time > SECONDS * len(TESTS) + 2 + 1} == {}
    assert outstaying(running) == set()
    assert worker_pids(judge) == workers  # none of them had to be started again
    after = files()
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)} - {str(log)}
    others = {path for path in changed if path.startswith(SHARED) and not path.startswith(OWN) and "canary" not in path}
    assert changed - {path for path in others if "polymath" not in path} == set()


def test_honest_programs_score_as_before(judge: Workbench) -> None:
    """The next thousand, right and wrong in turn."""
    honest = {str(n): f"def add(a, b):\n    c = {n}\n    return a + b{'' if n % 2 else ' + 1'}" for n in range(1000)}
    scores = {name: score.value for name, score in judged(judge, honest, "patient").items()}
    assert scores == {str(n): n % 2 for n in range(1000)}
