"""How a stage starts: in a process of its own, which dies with the one that started it.

On a machine without GPU the processes are forked from a server that has imported torch and TRL once; where there is a
GPU they are spawned, because a CUDA driver does not survive a fork.
"""

import fcntl
import importlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess

from polymath.hardware import count_gpus
from polymath.run_dir import StageDir
from polymath.stage import StageJob

# Set before torch is imported: no telemetry, no tokenizer threads that a fork would break, vLLM in the process
ENVIRONMENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "GOMP_SPINCOUNT": "10000",  # by default waiting threads spin so long that two busy runs stall each other
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}


@dataclass(frozen=True)
class StageProcess:
    """A running stage: progress and an error come over `connection`, then the process ends."""

    process: BaseProcess
    connection: Connection
    slot: int


def start(job: StageJob, runner: str, slot: int, preload: Iterable[str]) -> StageProcess:
    """Start `runner.run(job, report)`; `slot` chooses the GPU where there are several."""
    context = _context(preload)
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_main, args=(job, runner, slot, theirs), name=job.name)
    process.start()
    theirs.close()
    return StageProcess(process, ours, slot)


def _context(preload: Iterable[str]) -> SpawnContext | ForkServerContext:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if count_gpus():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    return context


def _main(job: StageJob, runner: str, slot: int, connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what it means
    threading.Thread(target=_die_with_parent, daemon=True).start()
    folder = StageDir(job.folder)
    with folder.log.open("a") as log, (job.folder / ".lock").open("w") as lock:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1, closefd=False)
        fcntl.flock(lock, fcntl.LOCK_EX)  # a process of a run that was killed may take a moment to die
        try:
            _run(job, runner, slot, connection, folder)
        except BaseException as error:
            traceback.print_exc()
            connection.send(f"{type(error).__name__}: {error}")
            sys.exit(1)


def _run(job: StageJob, runner: str, slot: int, connection: Connection, folder: StageDir) -> None:
    state = folder.read_state()
    if state.get("status") == "done" and state.get("fingerprint") == job.fingerprint:
        return  # the process of a run that was killed lived long enough to finish
    started = time.time()
    attempts = folder.read_state().get("attempts", 0) + 1
    folder.update_state(
        name=job.name, kind=job.config.kind, fingerprint=job.fingerprint, seed=job.seed, threads=job.threads,
        status="running", error=None, attempts=attempts,
    )  # fmt: skip
    if count_gpus():
        devices = [device for device in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if device]
        os.environ["CUDA_VISIBLE_DEVICES"] = devices[slot] if devices else str(slot)
    import torch

    torch.set_num_threads(job.threads)
    importlib.import_module(runner).run(job, lambda *progress: connection.send(progress))
    folder.update_state(status="done", seconds=round(time.time() - started, 2))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
