"""What happens within the namespaces: a root of its own, the files, and the program with its limits.

Standard library only, like the worker.
"""

import atexit
import builtins
import gc
import os
import resource
import signal
import sys
import threading
import traceback
import types
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import kernel

PROGRAM, NOBODY = 1000, 65534  # a program's user within, and who that is outside
SCRATCH = "/sandbox"
LIBRARIES = ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/bin", "/bin")
DEVICES = ("null", "zero", "urandom", "random")
# Imported before the fork, so that a program that begins with them does not wait
WARM = "bisect collections dataclasses functools heapq io itertools json math random re string typing"
Job = dict[str, Any]


compiled: dict[bytes, types.CodeType] = {}  # source -> code, of our own files


def warm_up(own: list[str]) -> None:
    """Import what programs are likely to import, and compile files that are run again and again."""
    for name in WARM.split():
        import_module(name)
    for name in ("exit", "quit"):  # as `site` has them
        setattr(builtins, name, sys.exit)
    for path in own:
        source = Path(path).read_bytes()
        compiled[source] = compile(source, os.path.basename(path), "exec")
    gc.collect()
    gc.freeze()  # a collection in a fork would copy what it looks at


def run(job: Job, isolation: str, folder: str, streams: tuple[int, ...], report: int) -> NoReturn:
    """The first process: build the root, start the program, report how it ended; all else dies with this process."""
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # process 1 is safe from signals that it does not handle
    if isolation == "namespaces":
        build_root(job["limits"], job["python"])
    if isolation == "none":
        os.chdir(folder)
        os.chmod(folder, 0o777)
    try:
        _write_files(job["files"])
    except OSError as error:
        os.write(report, f"files: {error}".encode(errors="replace"))
        os._exit(1)
    os.write(report, b"+")
    program = os.fork()
    if not program:
        _become(job, isolation, streams)
    while True:
        pid, status = os.wait()  # orphans, too, come here to be waited for
        if pid == program:
            os.write(report, str(os.waitstatus_to_exitcode(status)).encode())
            os._exit(0)


def build_root(limits: dict[str, Any], python: list[str]) -> None:
    """A root of libraries, Python, four devices and a scratch folder in memory; nothing else of this machine."""
    kernel.mount("", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    careful = kernel.MS_NOSUID | kernel.MS_NODEV
    root = "/proc"  # there on every machine, and nothing that is shown lies below it
    kernel.mount("tmpfs", root, "tmpfs", careful, "size=64k,nr_inodes=256,mode=755")
    for place in dict.fromkeys((*LIBRARIES, *python)):
        _show(place, root + place)
    os.makedirs(f"{root}/dev", exist_ok=True)
    for name in DEVICES:
        Path(f"{root}/dev/{name}").touch()
        kernel.mount(f"/dev/{name}", f"{root}/dev/{name}", flags=kernel.MS_BIND)
    os.mkdir(root + SCRATCH)
    if not os.path.exists(f"{root}/tmp"):  # a Python that is installed there is shown there
        os.symlink(SCRATCH, f"{root}/tmp")
    bounds = f"size={limits['scratch_bytes']},nr_inodes={limits['files']},mode=777"
    kernel.mount("tmpfs", root + SCRATCH, "tmpfs", careful, bounds)
    os.chdir(root)
    kernel.pivot_root()
    kernel.mount("", "/", flags=kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | careful)
    os.chdir(SCRATCH)


def _show(place: str, target: str) -> None:
    """A folder of this machine, or the link that stands there."""
    if os.path.islink(place):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.symlink(os.readlink(place), target)
    elif os.path.isdir(place) and not os.path.isdir(target):
        os.makedirs(target)
        kernel.bind(place, target)


def as_bubblewrap(place: str) -> tuple[str, str, str]:
    """`_show` in bubblewrap's words."""
    if os.path.islink(place):
        return ("--symlink", os.readlink(place), place)
    return ("--ro-bind", place, place)


def _write_files(files: dict[str, str]) -> None:
    os.umask(0)
    for name, text in files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode(errors="replace"))


def _become(job: Job, isolation: str, streams: tuple[int, ...]) -> NoReturn:
    """This process turns into the program: its streams, its limits, no privilege, and then its code."""
    try:
        for target, fd in enumerate(streams):
            os.dup2(fd, target)
        os.closerange(3, 4096)
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.nice(5)  # who watches comes first
        _limit(job["limits"])
        _give_up_root(isolation)
        kernel.drop_capabilities()
        kernel.filter_calls()
        _execute(job["command"], isolation)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(126)


def _limit(limits: dict[str, Any]) -> None:
    cpu = int(limits["cpu_seconds"])
    bounds = {
        resource.RLIMIT_CPU: (cpu, cpu + 1),  # SIGXCPU, a second later SIGKILL
        resource.RLIMIT_AS: limits["memory_bytes"],
        resource.RLIMIT_NPROC: limits["processes"],
        resource.RLIMIT_FSIZE: limits["file_bytes"],
        resource.RLIMIT_NOFILE: limits["open_files"],
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    for which, bound in bounds.items():
        resource.setrlimit(which, bound if isinstance(bound, tuple) else (bound, bound))


def _give_up_root(isolation: str) -> None:
    """Where the worker is root, the program is another user. (Limits of processes do not bind the machine's root.)"""
    if isolation == "bubblewrap" or os.geteuid() != 0:
        return
    user = PROGRAM if isolation == "namespaces" else NOBODY
    try:
        os.setresgid(user, user, user)
    except OSError:  # one user alone is mapped where the worker is not root; it has no right that matters
        return
    os.setresuid(user, user, user)


def _execute(command: list[str], isolation: str) -> NoReturn:
    """Run a Python file in this interpreter, which is warm; anything else as any program."""
    home = SCRATCH if isolation != "none" else os.getcwd()
    python = sys.executable
    os.environ.clear()
    path = f"{os.path.dirname(python)}:/usr/bin:/bin"
    os.environ.update({"PATH": path, "HOME": home, "TMPDIR": home, "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"})
    atexit._clear()  # what the worker would do at its end
    program, *arguments = command
    if program != "python" or not arguments or arguments[0].startswith("-"):
        os.execvp(python if program == "python" else program, [program, *arguments])
    sys.stdin, sys.stdout, sys.stderr = (
        open(fd, mode, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
        for fd, mode in ((0, "r"), (1, "w"), (2, "w"))
    )
    sys.argv = arguments
    sys.path[0] = os.path.dirname(os.path.abspath(arguments[0]))
    code = _run_file(arguments[0])
    for end in (threading._shutdown, atexit._run_exitfuncs, sys.stdout.flush, sys.stderr.flush):  # type: ignore
        try:
            end()
        except BaseException:
            code = code or 120  # as Python does where it cannot flush
    os._exit(code)


def _run_file(path: str) -> int:
    """Run a file as `__main__`; its exit code."""
    main = types.ModuleType("__main__")
    main.__dict__.update(__file__=path, __builtins__=builtins)
    sys.modules["__main__"] = main
    try:
        with open(path, "rb") as file:
            source = file.read()
        exec(compiled.get(source) or compile(source, path, "exec"), main.__dict__)
    except SystemExit as exit:
        if exit.code is None or isinstance(exit.code, int):
            return (exit.code or 0) & 0xFF
        sys.stderr.write(f"{exit.code}\n")
        return 1
    except BaseException as error:
        own = error.__traceback__.tb_next if error.__traceback__ else None  # without the frame of this function
        traceback.print_exception(type(error), error, own)
        return 1
    return 0
