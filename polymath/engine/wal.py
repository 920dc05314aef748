"""A write-ahead log of tokens: what a killed run had sampled is gone on with, never sampled anew.

Each line says what one request has more than before: `{"key", "ids", "logprobs", "done"}`. The key names step and
place, and marks the prompt: where a restart leads to another one there, nothing of the old one's is taken for its own.

A run that keeps only what is finished and samples the rest from scratch draws long completions again and short ones
not, so that lengths shrink with every crash; here every token that was drawn stays drawn (V4 report, section 5.2.3).
"""

import json
import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TextIO

from pydantic import BaseModel, Field, FiniteFloat, NonNegativeInt, ValidationError, model_validator

from polymath.engine.protocol import Engine, Request, Sample
from polymath.run_dir import read_lines

# Of a damaged line: to delete it alone would put what follows in the place of its tokens
REMEDY = "delete the file, and what no checkpoint holds is sampled anew"


def step_of(name: str) -> int:
    """Of a name in a log, `step/place...`."""
    return int(name.partition("/")[0])


class TokenLog:
    """The log of a stage's rollouts since its last checkpoint: one file, read when it is opened.

    `samples` and `complete` are what it held then; what is appended goes to the disk alone, for it may be large.
    """

    def __init__(self, path: Path, vocabulary: int | None = None) -> None:
        """ValueError where a line is none of a log's, or names a token that a `vocabulary` of this size has not."""
        self.path = path
        self.samples: dict[str, Sample] = {}
        self.complete: set[str] = set()
        self._file: TextIO | None = None
        for number, line in enumerate(read_lines(path, REMEDY), 1):
            key, new, done = _parsed(line, f"{path}:{number}", vocabulary)
            self.samples.setdefault(key, Sample()).extend(new)
            if done:
                self.complete.add(key)
        self.forget(lambda key: False)  # cuts off a line that a crash left unfinished

    def append(self, told: Sequence[tuple[str, Sample, bool]]) -> None:
        """What these requests have more, and whether they are complete; on the disk when this returns."""
        if self._file is None:
            self._file = self.path.open("a", encoding="utf-8")
        _write(self._file, (_line(key, sample, done) for key, sample, done in told))

    def forget(self, is_over: Callable[[str], bool]) -> None:
        """Drop the requests whose key `is_over`: a checkpoint holds what was learned from them."""
        self.close()
        self.samples = {key: sample for key, sample in self.samples.items() if not is_over(key)}
        self.complete &= self.samples.keys()
        beside = self.path.with_name(f".{self.path.name}.part")
        with beside.open("w", encoding="utf-8") as file:
            _write(file, (line for line in read_lines(self.path) if not is_over(line["key"])))
        beside.replace(self.path)

    def close(self) -> None:
        """Close the file; whatever is appended next opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _line(key: str, sample: Sample, done: bool) -> dict[str, Any]:
    logprobs = {"logprobs": sample.logprobs} if len(sample.logprobs) == len(sample.ids) else {}
    kept = {} if sample.kept is None else {"kept": sample.kept}
    return {"key": key, "ids": sample.ids, **logprobs, **kept, "done": done}


class _Line(BaseModel, extra="forbid", strict=True):
    """A line as it is read back."""

    key: Annotated[str, Field(pattern=r"^\d+/")]
    ids: list[NonNegativeInt]
    logprobs: list[FiniteFloat] | None = None  # of a request that asks for them
    kept: list[list[NonNegativeInt]] | None = None
    done: bool

    @model_validator(mode="after")
    def _each_token_has_its_own(self) -> "_Line":
        if any(own is not None and len(own) != len(self.ids) for own in (self.logprobs, self.kept)):
            raise ValueError("lists of different lengths")
        return self


def _parsed(line: Any, place: str, vocabulary: int | None) -> tuple[str, Sample, bool]:
    try:
        own = _Line.model_validate(line)
    except ValidationError as error:
        raise ValueError(f"{place}: no line of a token log; {REMEDY}") from error
    if vocabulary is not None and max(own.ids, default=0) >= vocabulary:
        raise ValueError(f"{place}: token {max(own.ids)} of a vocabulary of {vocabulary}; {REMEDY}")
    return own.key, Sample(own.ids, own.logprobs or [], own.kept), own.done


def _write(file: TextIO, lines: Iterable[dict[str, Any]]) -> None:
    file.writelines(json.dumps(line) + "\n" for line in lines)
    file.flush()
    os.fsync(file.fileno())


class LoggedEngine:
    """An engine whose samples survive the process: it begins where the log ends."""

    def __init__(self, engine: Engine, log: TokenLog) -> None:
        self.engine, self.log = engine, log
        self.max_length, self.can_sleep = engine.max_length, engine.can_sleep
        self.shares_weights = engine.shares_weights
        self.deliver, self.difference = engine.deliver, engine.difference
        self.wake, self.sleep, self.close = engine.wake, engine.sleep, engine.close

    def generate(self, requests: Sequence[Request]) -> list[Sample]:
        """See `Engine.generate`; what the log has is not sampled again, and what is sampled goes into the log."""
        samples, keys = [Sample() for _ in requests], [log_key(request) for request in requests]
        for sample, key in zip(samples, keys, strict=True):
            sample.extend(self.log.samples.get(key, Sample()))
        left = [
            place
            for place, (request, sample) in enumerate(zip(requests, samples, strict=True))
            if keys[place] not in self.log.complete and len(sample.ids) < request.sampling.max_tokens
        ]
        rest = [_rest(requests[place], samples[place]) for place in left]
        logged = dict.fromkeys(range(len(left)), 0)  # tokens that the log has of each that it has not to its end

        def note(told: Sequence[tuple[int, Sample, bool]]) -> None:
            news = [(own, sample, done) for own, sample, done in told if own in logged]
            self.log.append([(keys[left[own]], sample.after(logged[own]), done) for own, sample, done in news])
            for own, sample, done in news:
                logged[own] = len(sample.ids)
                if done:
                    del logged[own]

        drawn = self.engine.generate(rest, note) if rest else []
        note([(own, sample, True) for own, sample in enumerate(drawn)])
        for place, sample in zip(left, drawn, strict=True):
            samples[place].extend(sample)
        return samples


def log_key(request: Request) -> str:
    """Of a request in the log: its own key, and a mark of its prompt."""
    return f"{request.key}/{zlib.crc32(repr(request.prompt_ids).encode()):08x}"


def _rest(request: Request, sample: Sample) -> Request:
    """What is left to sample of a request: its tokens stand behind the prompt, and are prefilled with it."""
    left = replace(request.sampling, max_tokens=request.sampling.max_tokens - len(sample.ids))
    return replace(
        request, prompt_ids=request.prompt_ids + sample.ids, sampling=left, written=request.written + len(sample.ids)
    )
