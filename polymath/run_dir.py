"""Every path of a run, and the writes that survive a crash.

    runs/<recipe>-<stamp>/   recipe.yaml  resolved.json  manifest.json  events.jsonl
      <nn>-<stage>/          stage.json  metrics.jsonl  rollouts.jsonl  samples.jsonl  sandbox.jsonl  log.txt
                             checkpoints/  model/
        rank-<n>/            what the other processes of a stage write for themselves
      report/                index.html  *.png  summary.json

A file is either whole or absent: it is written beside its place and renamed into it. Lines are appended with one write.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Replace a file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with beside.open("w", encoding="utf-8", errors="backslashreplace") as file:  # lone surrogates, see `append_line`
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def write_json(path: Path, data: Any) -> None:
    """Replace a JSON file in one step."""
    write_text(path, json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """The data of a JSON file, or None where there is none. Raises `ValueError` that names a broken file."""
    if not path.exists():
        return None
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: is not JSON ({error}); remove it to do its part again") from error


def append_line(path: Path, data: dict[str, Any]) -> None:
    """Add one line to a JSONL file, with one write."""
    line = json.dumps(data, ensure_ascii=False) + "\n"
    with path.open("ab", buffering=0) as file:
        file.write(line.encode(errors="backslashreplace"))  # a lone surrogate, as JSON writes it


def read_lines(path: Path, remedy: str = "mend that line, or delete it") -> Iterator[dict[str, Any]]:
    """The lines of a JSONL file; a last line that a crash cut short is left out, another that is no JSON refused."""
    if not path.exists():
        return
    lines = path.read_bytes().split(b"\n")  # not splitlines: text may hold other characters that end a line
    for number, line in enumerate(lines, 1):
        try:
            yield json.loads(line)
        except ValueError as error:
            if number == len(lines):
                return
            raise ValueError(f"{path}:{number}: no JSON ({error}); {remedy}") from error


def keep_lines(path: Path, wanted: Callable[[dict[str, Any]], bool]) -> None:
    """Rewrite a JSONL file with the wanted lines alone."""
    if path.exists():
        write_text(
            path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in read_lines(path) if wanted(line))
        )


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill that takes its place only when the block ends without error."""
    beside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        yield beside
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)
    beside.replace(folder)


class StageDir:
    """The folder of one stage; of its processes the first one writes there, each other one in a folder within."""

    def __init__(self, path: Path, rank: int = 0) -> None:
        self.path = own = path / f"rank-{rank}" if rank else path
        self.state = own / "stage.json"
        self.metrics = own / "metrics.jsonl"
        self.rollouts = own / "rollouts.jsonl"
        self.samples = own / "samples.jsonl"
        self.sandbox = own / "sandbox.jsonl"
        self.alarms = own / "alarms.jsonl"
        self.judgments = own / "judgments.jsonl"
        self.rubrics = own / "rubrics.jsonl"
        self.looks = own / "looks.jsonl"
        self.probe = own / "probe.json"
        self.tokens = own / "tokens.jsonl"
        self.scores = own / "scores"
        self.log = own / "log.txt"
        self.checkpoints = path / "checkpoints"  # all of them write one
        self.model = path / "model"

    def read_state(self) -> dict[str, Any]:
        """What is known of the stage; empty before its first start."""
        return read_json(self.state) or {}

    def update_state(self, **fields: Any) -> None:
        """Change some fields of `stage.json`."""
        write_json(self.state, self.read_state() | fields)


class RunDir:
    """The folder of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe = path / "recipe.yaml"
        self.resolved = path / "resolved.json"
        self.manifest = path / "manifest.json"
        self.events = path / "events.jsonl"
        self.lock = path / ".lock"
        self.report = path / "report"
        self.summary = self.report / "summary.json"

    def stage(self, index: int, name: str) -> StageDir:
        """The folder of the stage at this place of the order."""
        return StageDir(self.path / f"{index:02d}-{name}")

    def event(self, event: str, **fields: Any) -> None:
        """Note what happened, with the time in seconds since the epoch."""
        append_line(self.events, {"time": round(time.time(), 3), "event": event} | fields)
