"""How a stage starts: in processes of its own, one a GPU that it asks for, which die with the one that started them.

On a machine without GPU the processes are forked from a server that has imported torch and TRL once; where there is a
GPU they are spawned, because a CUDA driver does not survive a fork.
"""

import fcntl
import importlib
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any

from polymath.hardware import gpus
from polymath.run_dir import StageDir
from polymath.stage import StageJob

# Set before torch is imported: no telemetry, no tokenizer threads that a fork would break, vLLM in the process, and a
# GPU's memory in pages, or batches of many lengths leave pieces behind that fit none of the next
ENVIRONMENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "GOMP_SPINCOUNT": "10000",  # by default waiting threads spin so long that two busy runs stall each other
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
    # What a stage that is interrupted leaves Python puts away, and says so behind the command's last word
    "PYTHONWARNINGS": "ignore::UserWarning:multiprocessing.resource_tracker",
}


class StageProcesses:
    """A running stage: progress and errors come over connections, each of which ends with its process."""

    def __init__(self, by_connection: dict[Connection, BaseProcess], slots: Sequence[int]) -> None:
        self.by_connection, self.slots = by_connection, list(slots)
        self.ranks = {connection: rank for rank, connection in enumerate(by_connection)}
        self.exitcode: int | None = 0  # of the first that failed

    def end(self, connection: Connection) -> bool:
        """Note that one has ended; if it failed, so do the others, who would wait for it. Whether none is left."""
        process = self.by_connection.pop(connection)
        process.join()
        if process.exitcode and not self.exitcode:
            self.exitcode = process.exitcode
            self.terminate()
        return not self.by_connection

    def terminate(self, but: Connection | None = None) -> None:
        """End those that still run."""
        for connection, process in self.by_connection.items():
            if connection is not but:
                process.terminate()


@dataclass(frozen=True)
class Place:
    """Of one of a stage's processes."""

    slot: int  # the GPU, where there are several
    count: int
    port: int  # where the first one waits for the others


def start(job: StageJob, runner: str, slots: Sequence[int]) -> StageProcesses:
    """Start `runner.run(job, report)` in a process for each of these slots."""
    context, port, running = _context(), _free_port(), {}
    for rank, slot in enumerate(slots):
        ours, theirs = context.Pipe(duplex=False)
        own, place = replace(job, rank=rank), Place(slot, len(slots), port)
        process = context.Process(target=_main, args=(own, runner, place, theirs), name=f"{job.name}-{rank}")
        process.start()
        theirs.close()
        running[ours] = process
    return StageProcesses(running, slots)


def call(function: str, *given: Any) -> Any:
    """What `module:name` returns in a process of its own, which imports what the command never does.

    RuntimeError where it raised, with what it said.
    """
    context = _context()
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(function, given, theirs))
    process.start()
    theirs.close()
    try:
        result, error = ours.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"{function} ended with exit code {process.exitcode}") from None
    except KeyboardInterrupt:
        process.terminate()
        raise
    process.join()
    if error:
        raise RuntimeError(error)
    return result


def _answer(function: str, given: Sequence[Any], connection: Connection) -> None:
    _mind_parent()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # stages have the GPUs to themselves
    module, _, name = function.partition(":")
    try:
        connection.send((getattr(importlib.import_module(module), name)(*given), ""))
    except Exception as error:
        connection.send((None, f"{type(error).__name__}: {error}"))


def _free_port() -> int:
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return int(own.getsockname()[1])


def _context() -> SpawnContext | ForkServerContext:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if gpus():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["polymath.preloaded"])
    return context


def _main(job: StageJob, runner: str, place: Place, connection: Connection) -> None:
    _mind_parent()
    folder = job.files
    folder.path.mkdir(parents=True, exist_ok=True)
    with folder.log.open("a") as log, (folder.path / ".lock").open("w") as lock:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1, closefd=False)
        fcntl.flock(lock, fcntl.LOCK_EX)  # a process of a run that was killed may take a moment to die
        try:
            _run(job, runner, place, connection)
        except BaseException as error:
            traceback.print_exc()
            connection.send(f"{type(error).__name__}: {error}")
            sys.exit(1)


def _run(job: StageJob, runner: str, place: Place, connection: Connection) -> None:
    folder, state = job.files, StageDir(job.folder).read_state()
    if state.get("status") == "done" and state.get("fingerprint") == job.fingerprint:
        return  # the process of a run that was killed lived long enough to finish
    started = time.time()
    folder.update_state(
        name=job.name, kind=job.config.kind, fingerprint=job.fingerprint, seed=job.seed, threads=job.threads,
        status="running", error=None, attempts=folder.read_state().get("attempts", 0) + 1,
    )  # fmt: skip
    if devices := gpus():
        os.environ["CUDA_VISIBLE_DEVICES"] = devices[place.slot]
    threads = max(1, job.threads // place.count)
    if place.count > 1:
        _join(job.rank, place, threads)
    import torch

    torch.set_num_threads(threads)
    importlib.import_module(runner).run(job, partial(_report, job.rank, connection))
    folder.update_state(status="done", seconds=round(time.time() - started, 2))


def _join(rank: int, place: Place, threads: int) -> None:
    """What torch and accelerate have to know; each process sees one GPU, which is number 0 to it."""
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(place.count),
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(place.port),
        "OMP_NUM_THREADS": str(threads),  # or accelerate chooses
    }


def _report(rank: int, connection: Connection, *progress: Any) -> None:
    if rank == 0:  # the others have the same to tell
        connection.send(progress)


def _mind_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what it means
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
