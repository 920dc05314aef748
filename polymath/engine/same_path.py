"""One path for the model of every engine: vLLM's cache of compiled code goes by the path, whatever the weights are."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import IO


@contextmanager
def same_path(folder: Path, links: Path) -> Iterator[Path]:
    """A link to `folder`, in the folder `links`: the first that no one else holds, so that names come back.

    While an engine starts the link is its own; a process that dies lets go of it. Where no link can be made it is
    `folder` itself, and nothing but time is lost.
    """
    try:
        name, lock = _taken(folder, links)
    except OSError:
        yield folder
        return
    with lock:
        yield name


def _taken(folder: Path, links: Path) -> tuple[Path, IO[str]]:
    links.mkdir(parents=True, exist_ok=True)
    name, lock = next(held for number in count() if (held := _held(links / f"model-{number}")))
    name.unlink(missing_ok=True)
    name.symlink_to(folder.resolve(), target_is_directory=True)
    return name, lock


def _held(name: Path) -> tuple[Path, IO[str]] | None:
    lock = name.with_suffix(".lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return name, lock
