"""The sandbox: what a program may do, what it may not, and what is left when it has ended."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rewards.sandbox import Limits, Result, SandboxError
from rewards.sandbox.local import Isolation, LocalSandbox, attempt, protections_of, strongest
from rewards.sandbox.log import Log, Recorder, replay

ROOT = Path(__file__).resolve().parents[2]
LIMITS = Limits(wall_seconds=30, cpu_seconds=30, memory_bytes=256 << 20)
Run = Callable[..., Result]

isolated = pytest.mark.skipif(strongest() == "none", reason="this machine grants no namespaces")
ISOLATIONS: list[Isolation] = ["namespaces", "bubblewrap", "none"]


@pytest.fixture(scope="module", params=ISOLATIONS)
def sandbox(request: pytest.FixtureRequest) -> Iterator[LocalSandbox]:
    if request.param == "bubblewrap" and not shutil.which("bwrap"):
        pytest.skip("bubblewrap is not installed")
    if request.param != "none" and attempt(request.param):
        pytest.skip(f"this machine does not grant {request.param}")
    opened = LocalSandbox((), 2, request.param)
    yield opened
    opened.close()


@pytest.fixture
def library(sandbox: LocalSandbox) -> None:
    if attempt(sandbox.isolation):
        pytest.skip("Python's library is not readable for everybody on this machine")


@pytest.fixture
def run(sandbox: LocalSandbox) -> Run:
    def run(code: str, stdin: str = "", limits: Limits = LIMITS, **files: str) -> Result:
        given = {"main.py": code, **{name.replace("_", "."): text for name, text in files.items()}}
        return asyncio.run(sandbox.exec(given, ("python", "main.py"), stdin, limits))

    return run


def test_a_program_reads_writes_and_ends(run: Run) -> None:
    result = run("import sys; print(input()[::-1], open('data.txt').read()); sys.exit(3)", "abc\n", data_txt="xyz")
    assert (result.ended, result.exit_code, result.stdout, result.stderr) == ("exit", 3, "cba xyz\n", "")


def test_it_is_python_as_usual(library: None, run: Run) -> None:
    code = """
import atexit, os, subprocess, sys, tempfile, threading
import helper
atexit.register(print, "at exit")
threading.Thread(target=lambda: print("thread", flush=True)).start()
assert __name__ == "__main__" and sys.argv == ["main.py"] and helper.VALUE == 7
with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
    print(os.path.dirname(file.name) == os.getcwd())
print(subprocess.run([sys.executable, "-c", "print(6 * 7)"], capture_output=True, text=True).stdout.strip(), flush=True)
raise ValueError("the end")
"""
    result = run(code, helper_py="VALUE = 7")
    assert result.exit_code == 1 and sorted(result.stdout.split("\n")) == ["", "42", "True", "at exit", "thread"]
    assert result.stderr.startswith('Traceback (most recent call last):\n  File "main.py", line 10')
    assert result.stderr.endswith("ValueError: the end\n")


def test_sets_are_in_one_order_wherever_it_runs(run: Run) -> None:
    assert len({run("print({'a', 'b', 'c', 'd', 'e'})").stdout for _ in range(6)}) == 1


@pytest.mark.parametrize(
    ("code", "limits", "ended"),
    [
        ("import time; time.sleep(99)", {"wall_seconds": 1}, "wall"),
        ("while True: pass", {"cpu_seconds": 1}, "exit"),  # by SIGXCPU
        (
            "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass",
            {"wall_seconds": 2, "cpu_seconds": 1}, "exit wall",
        ),
        ("while True: print('x' * 1000)", {}, "output"),
        ("import sys\nwhile True: sys.stderr.write('x' * 1000)", {}, "output"),
        ("data = bytearray(1 << 30)", {}, "exit"),  # by MemoryError
        (
            "import os, mmap, time\nfor _ in range(6):\n    if not os.fork():\n        shared = mmap.mmap(-1, 150 << 20)\n"
            "        for page in range(0, 150 << 20, 4096): shared[page] = 1\n        break\ntime.sleep(99)",
            {}, "memory",
        ),
        (
            "import os\nfor _ in range(8):\n    if not os.fork(): break\ndata = bytearray(150 << 20)\nimport time; time.sleep(99)",
            {}, "memory",
        ),
    ],
    ids=["sleep", "loop", "no-signal", "stdout", "stderr", "memory", "memory-shared", "memory-of-many"],
)  # fmt: skip
def test_every_limit_holds(run: Run, sandbox: LocalSandbox, code: str, limits: dict[str, int], ended: str) -> None:
    if "mmap" in code and attempt(sandbox.isolation):
        pytest.skip("Python's library is not readable for everybody on this machine")
    result = run(code, limits=replace(LIMITS, **limits))
    assert result.ended in ended.split() and result.exit_code != 0
    assert len(result.stdout) <= LIMITS.output_bytes and len(result.stderr) <= LIMITS.output_bytes


def test_this_process_is_not_seen(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "polymath-secret")
    result = run(
        "import os; print(dict(os.environ), [fd for fd in range(3, 256) if os.path.exists(f'/proc/self/fd/{fd}')])"
    )
    assert "SECRET" not in result.stdout and result.stdout.endswith("[]\n")


def test_no_socket_no_privilege_no_new_ones(library: None, run: Run) -> None:
    code = """
import ctypes, os, socket
libc = ctypes.CDLL(None, use_errno=True)
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
    try: socket.socket(family); print("socket")
    except PermissionError: pass
socket.socketpair()
for call in (lambda: libc.unshare(0x10000000), lambda: libc.mount(b"none", b"/tmp", b"tmpfs", 0, None),
             lambda: libc.ptrace(16, os.getppid(), 0, 0), lambda: libc.setuid(0) if os.getuid() else -1):
    if call() != -1: print("allowed")
status = open("/proc/self/status").read() if os.path.exists("/proc/self/status") else ""
assert not status or ("CapEff:\\t0000000000000000" in status and "NoNewPrivs:\\t1" in status)
"""
    result = run(code)
    assert (result.stdout, result.stderr) == ("", "")


@isolated
def test_nothing_of_this_machine_is_seen_or_changed() -> None:
    sandbox = LocalSandbox(workers=1)
    code = f"""
import os
print(sorted(set(os.listdir("/")) & {{"home", "etc", "var", "proc", "sys", "opt", "mnt", "run"}}))
for place in ("/", "/usr", "/usr/lib", "/dev", {str(Path(sys.base_prefix))!r}):
    try: open(os.path.join(place, "polymath-escape"), "w"); print("wrote", place)
    except OSError: pass
for pid in range(1, 400):
    try:
        if pid != os.getpid(): os.kill(pid, 9)
    except OSError: pass
print(os.path.exists({str(Path(__file__))!r}), os.getpid() < 10)
"""
    try:
        result = asyncio.run(sandbox.exec({"main.py": code}, ("python", "main.py")))
        assert result.stdout == "[]\nFalse True\n", result
        again = asyncio.run(sandbox.exec({"main.py": "import os; print(os.listdir())"}, ("python", "main.py")))
        assert again.stdout == "['main.py']\n"
    finally:
        sandbox.close()


def test_any_program_can_be_run(sandbox: LocalSandbox) -> None:
    result = asyncio.run(sandbox.exec({"a/b.txt": "x"}, ("sh", "-c", "cat a/b.txt; cat; exit 5"), "stdin", LIMITS))
    assert (result.stdout, result.exit_code) == ("xstdin", 5)
    missing = asyncio.run(sandbox.exec({}, ("no-such-program",), "", LIMITS))
    assert missing.exit_code == 126 and "Error" in missing.stderr


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "", ".", "a\0b"])
def test_files_stay_in_the_scratch_folder(sandbox: LocalSandbox, name: str) -> None:
    with pytest.raises(ValueError, match="no relative path"):
        asyncio.run(sandbox.exec({name: ""}, ("true",)))


def test_less_than_is_demanded_is_refused() -> None:
    with pytest.raises(SandboxError, match=r"does not grant the sandbox mount, network \(active: limits, .*bubblewrap"):
        LocalSandbox(("mount", "network", "limits"), 1, "none")
    assert {"mount", "pid", "network", "limits"} <= protections_of("namespaces")
    assert ("limits" in protections_of("bubblewrap")) == (os.geteuid() != 0)


@pytest.mark.parametrize("files", [{"a": "", "a/b": ""}, {"a": "x" * (33 << 20)}, {str(n): "" for n in range(2000)}])
def test_what_cannot_be_given_is_refused_and_nothing_breaks(sandbox: LocalSandbox, files: dict[str, str]) -> None:
    if sandbox.isolation != "namespaces" and len(files) != 2:
        pytest.skip("only a scratch folder of ours is bounded so")
    with pytest.raises(ValueError, match="cannot hold what it was given"):
        asyncio.run(sandbox.exec(files, ("true",), "", LIMITS))
    assert asyncio.run(sandbox.exec({}, ("sh", "-c", "echo 1"), "", LIMITS)).stdout == "1\n"
    none = Limits(wall_seconds=0)
    assert asyncio.run(sandbox.exec({"m.py": "1"}, ("python", "m.py"), "", none)).ended == "wall"


def test_what_is_closed_starts_nothing_more() -> None:
    async def close_while_it_runs() -> None:
        sandbox = LocalSandbox((), 1, "namespaces")
        task = asyncio.create_task(sandbox.exec({"m.py": "import time; time.sleep(9)"}, ("python", "m.py")))
        await asyncio.sleep(0.5)
        sandbox.close()
        with pytest.raises(SandboxError):
            await task
        assert [worker.process for worker in sandbox._workers] == [None]

    if attempt("namespaces"):
        pytest.skip("this machine grants no namespaces")
    asyncio.run(close_while_it_runs())


def test_a_worker_that_dies_is_replaced(sandbox: LocalSandbox) -> None:
    async def both() -> list[Result]:
        return [await sandbox.exec({"main.py": "print(1)"}, ("python", "main.py")) for _ in range(4)]

    asyncio.run(both())
    for worker in sandbox._workers:
        assert worker.process
        os.kill(worker.process.pid, signal.SIGKILL)
    assert [result.stdout for result in asyncio.run(both())] == ["1\n"] * 4


def test_nothing_outlives_the_process_that_asked(tmp_path: Path) -> None:
    code = """
import asyncio, os, sys
from rewards.sandbox.local import LocalSandbox
async def main():
    sandbox = LocalSandbox((), 1)
    task = asyncio.create_task(sandbox.exec({"main.py": "import time; time.sleep(5)"}, ("python", "main.py")))
    await asyncio.sleep(1)
    print(sandbox._workers[0].process.pid, flush=True)
    os.kill(os.getpid(), 9)
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    worker = int(done.stdout)
    deadline = time.monotonic() + 15
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{worker}").exists()


def test_an_episode_can_be_run_again(sandbox: LocalSandbox, tmp_path: Path) -> None:
    path = tmp_path / "sandbox.jsonl"
    log, long = Log(path), "# " + "x" * 5000 + "\n"

    async def episodes() -> None:
        for episode in ("1/0", "1/1"):
            recorder = Recorder(sandbox, log, episode)
            await recorder.exec({"main.py": long + "print(input())"}, ("python", "main.py"), episode)
            await recorder.exec({"main.py": "print('y' * 9000)"}, ("python", "main.py"))

    asyncio.run(episodes())
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["episode"], line["place"]) for line in lines if "command" in line] == [
        ("1/0", 0), ("1/0", 1), ("1/1", 0), ("1/1", 1),
    ]  # fmt: skip
    assert path.read_text().count("x" * 5000) == 1  # a long file stands there once
    assert [again.differs for again in asyncio.run(replay(path, sandbox))] == [{}] * 4
    path.write_text(path.read_text().replace("print(input())", "print('other')"))
    (first, second) = asyncio.run(replay(path, sandbox, "1/1"))
    assert first.differs == {"stdout": ("1/1\n", "other\n")} and not second.differs
    with pytest.raises(ValueError, match=r"holds no command of the episode '9/9'"):
        asyncio.run(replay(path, sandbox, "9/9"))
