"""Records of a file, one by one, with the line that each stands in: JSON lines, JSON, CSV, TSV or parquet."""

import csv
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

KINDS = {dict: "an object", list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}
KINDS[bytes] = "bytes"  # which parquet has
Found = tuple[int, dict[str, Any] | str]  # line and record, or what is wrong there
DIVIDED = "write .csv with commas, and .tsv with tabs"
NOT_UTF8 = re.compile("[\udc80-\udcff]")  # what Python's `surrogateescape` makes of bytes that are not
UTF16 = ("\udcff\udcfe", "\udcfe\udcff")  # its byte order marks, read so
PARQUET_ROWS = 1024  # that are in memory at a time


def json_kind(value: Any) -> str:
    """What a value of JSON or of parquet is, in words."""
    return "null" if value is None else KINDS.get(type(value), type(value).__name__)


def records(path: Path) -> Iterator[Found]:
    """Every record with its line, from 1 (of JSON and parquet, its number), or what is wrong in that line.

    Raises `ValueError` where the file is none that can be read at all.
    """
    if os.path.isdir(path):
        raise ValueError(f"{path}: is a folder; name the files in it")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{path}: {path.suffix or 'no'} ending; files are {', '.join(READERS)}: convert or rename it")
    if not os.path.isfile(path):  # unlike pathlib's, these never raise
        raise ValueError(
            f"{path}: no file" if os.path.exists(path) else f"{path}: no such file, looked for from {os.getcwd()}"
        )
    try:
        yield from reader(path)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}:{_line_of_fault(path)}: not UTF-8: save it as UTF-8") from error
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from error


def _line_of_fault(path: Path) -> int:
    """The first line that is not UTF-8; decoders tell of the byte, and of that in the part that they were given."""
    with path.open("rb") as file:
        for line, raw in enumerate(file, 1):
            try:
                raw.decode()
            except UnicodeDecodeError:
                return line
    return 1


def _json_lines(path: Path) -> Iterator[Found]:
    """A line that is not UTF-8 is a bad one like any other: those around it are whole."""
    with _opened(path, errors="surrogateescape") as file:
        for line, text in enumerate(file, 1):
            if line == 1 and text.startswith(UTF16):
                raise ValueError(f"{path}:1: not UTF-8: save it as UTF-8")
            if text.strip():
                yield line, _parsed(text)


def _parsed(text: str) -> dict[str, Any] | str:
    if fault := NOT_UTF8.search(text):
        return f"not UTF-8 at column {fault.start() + 1}: save it as UTF-8"
    try:
        record = json.loads(text)
    except json.JSONDecodeError as error:
        return f"no JSON: {error.msg.removesuffix(' starting at')} at column {error.colno}"
    except (ValueError, RecursionError) as error:
        return f"no JSON: {_fault(error)}"
    return record if isinstance(record, dict) else f"{json_kind(record)} in the place of an object"


def _fault(error: ValueError | RecursionError) -> str:
    """In words; of a number of too many digits without what Python's own settings could do."""
    return str(error).partition("; use sys.")[0]


def _json(path: Path) -> Iterator[Found]:
    try:
        with _opened(path) as file:
            rows = json.load(file)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is a ValueError
        if _holds_lines(path):
            yield from _json_lines(path)
            return
        if isinstance(error, UnicodeDecodeError):
            raise
        raise ValueError(f"{path}: no JSON: {_fault(error)}; JSON lines end in .jsonl") from error
    if not isinstance(rows, list):
        raise ValueError(f"{path}: holds {json_kind(rows)}, and a list of objects is needed: one for each row")
    for number, record in enumerate(rows, 1):
        yield number, record if isinstance(record, dict) else f"{json_kind(record)} in the place of an object"


def _holds_lines(path: Path) -> bool:
    """Whether its first line is an object by itself, whatever the file is called."""
    with _opened(path, errors="surrogateescape") as file:
        return isinstance(_parsed(next((text for text in file if text.strip()), "")), dict)


def _separated(delimiter: str) -> Callable[[Path], Iterator[Found]]:
    def read(path: Path) -> Iterator[Found]:
        csv.field_size_limit(sys.maxsize)
        with _opened(path, newline="") as file:
            reader = csv.DictReader(file, delimiter=delimiter, strict=True)
            names = reader.fieldnames or []
            if len(set(names)) != len(names) or not all(names):
                raise ValueError(f"{path}:1: columns {names}: each needs a name of its own")
            if len(names) == 1 and (other := next((sign for sign in ";\t|" if sign in names[0]), "")):
                raise ValueError(f"{path}:1: one column, {names[0]!r}: is it divided by {other!r}? {DIVIDED}")
            before = reader.line_num
            try:
                for record in reader:
                    whole = None not in record and None not in record.values()
                    yield before + 1, record if whole else f"{len(names)} columns, and not as many values"
                    before = reader.line_num
            except csv.Error as error:
                raise ValueError(f"{path}:{before + 1}: {error}; close each quote, double one in a text") from error

    return read


def _parquet(path: Path) -> Iterator[Found]:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        number = 0
        for batch in ParquetFile(path).iter_batches(PARQUET_ROWS):
            for record in batch.to_pylist():
                number += 1
                yield number, record
    except ArrowException as error:
        raise ValueError(f"{path}: no parquet: {str(error).rstrip('.')}: write it again") from error


def _opened(path: Path, newline: str | None = None, errors: str = "strict") -> TextIO:
    return path.open(encoding="utf-8-sig", newline=newline, errors=errors)


READERS: dict[str, Callable[[Path], Iterator[Found]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
    ".parquet": _parquet,
}
