"""Every command of an episode and what came of it, in order, so that it can be run again.

One line of `sandbox.jsonl` is one command: `episode`, its `place` in the episode, `files`, `command`, `stdin`, `limits`
and `result`. Long output is kept by its beginning and its SHA-256. A long file is kept once: a line `episode`, `sha256`
and `text` before its first use, and `{"sha256": ...}` in its place.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from polymath.run_dir import append_line, read_lines
from rewards.sandbox import Limits, Result, Sandbox

KEPT = 2000  # characters of an output
LONG = 1000  # characters from which a file is kept once


class Log:
    """The log of a stage."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written: set[str] = set()
        self._places: Counter[str] = Counter()

    def take_place(self, episode: str) -> int:
        """The next place in an episode."""
        self._places[episode] += 1
        return self._places[episode] - 1

    def write(self, episode: str, place: int, asked: Mapping[str, Any], result: Result) -> None:
        """Append a command and its result."""
        files = {name: self._kept_once(episode, text) for name, text in asked["files"].items()}
        append_line(self.path, {"episode": episode, "place": place, **asked, "files": files, "result": _kept(result)})

    def _kept_once(self, episode: str, text: str) -> str | dict[str, str]:
        if len(text) < LONG:
            return text
        digest = _digest(text)
        if digest not in self._written:
            self._written.add(digest)
            append_line(self.path, {"episode": episode, "sha256": digest, "text": text})
        return {"sha256": digest}


class Recorder:
    """A sandbox that writes down what one episode does in it."""

    def __init__(self, sandbox: Sandbox, log: Log, episode: str) -> None:
        self.sandbox, self.log, self.episode = sandbox, log, episode
        self.protections = sandbox.protections

    async def exec(
        self, files: Mapping[str, str], command: Sequence[str], stdin: str = "", limits: Limits | None = None
    ) -> Result:
        """Run a command, and append it with its result; its place is the order in which it was asked for."""
        limits, place = limits or Limits(), self.log.take_place(self.episode)
        result = await self.sandbox.exec(files, command, stdin, limits)
        asked = {"files": dict(files), "command": list(command), "stdin": stdin, "limits": asdict(limits)}
        self.log.write(self.episode, place, asked, result)
        return result

    def close(self) -> None:
        """End the sandbox."""
        self.sandbox.close()


@dataclass(frozen=True)
class Replay:
    """One command run again: which, and what differs from the first time."""

    episode: str
    place: int
    differs: dict[str, tuple[Any, Any]]  # field -> then, now


async def replay(path: Path, sandbox: Sandbox, episode: str | None = None) -> list[Replay]:
    """Run a log's commands again, of one episode or of all, each episode in its order; times are not compared."""
    replays = []
    for line in in_order(path, episode):
        result = await sandbox.exec(line["files"], line["command"], line["stdin"], Limits(**line["limits"]))
        now, then = _kept(result), line["result"]
        changed = {key: (then[key], now[key]) for key in now if not key.endswith("_seconds") and then[key] != now[key]}
        replays.append(Replay(line["episode"], line["place"], changed))
    return replays


def in_order(path: Path, episode: str | None = None) -> Iterator[dict[str, Any]]:
    """The lines of a log, episodes in the order in which they began. Raises `ValueError` where there is none."""
    every = list(read_lines(path))
    texts = {line["sha256"]: line["text"] for line in every if "text" in line}
    lines = [line for line in every if "command" in line and episode in (None, line["episode"])]
    if not lines:
        raise ValueError(f"{path}: holds no command{f' of the episode {episode!r}' if episode else ''}")
    began = {name: rank for rank, name in enumerate(dict.fromkeys(line["episode"] for line in lines))}
    for line in sorted(lines, key=lambda line: (began[line["episode"]], line["place"])):
        files = {name: file if isinstance(file, str) else texts[file["sha256"]] for name, file in line["files"].items()}
        yield line | {"files": files}


def _kept(result: Result) -> dict[str, Any]:
    kept = asdict(result)
    for name in ("stdout", "stderr"):
        text = kept[name]
        if len(text) > KEPT:
            kept[name] = f"{text[:KEPT]}... sha256 {_digest(text)}"
    return kept


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
