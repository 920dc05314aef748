"""All rows of some files: those that can be used, and of the others where they stand and why not."""

import json
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from polymath.dataset.files import records
from polymath.dataset.layouts import Conversation, Part, conversation, read_columns


class Place(NamedTuple):
    """Where a row stands."""

    path: Path
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


class Read(NamedTuple):
    """What files hold, and of each row that cannot be used the reason."""

    conversations: Mapping[Place, Conversation]
    bad: Mapping[Place, str]
    unused: Counter[str]  # columns that say nothing here, and how many rows have them


def read(files: tuple[Path, ...], columns: Mapping[Part, str]) -> Read:
    """Raises `ValueError` where a file is none that holds rows; read once, as long as files stay as they are."""
    changed = tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in files)
    return _read(files, json.dumps(dict(columns)), changed)


@cache
def _read(files: tuple[Path, ...], columns: str, changed: tuple[int, ...]) -> Read:
    conversations, bad, unused = dict[Place, Conversation](), dict[Place, str](), Counter[str]()
    for path in files:
        for line, record in records(path):
            try:
                if isinstance(record, str):
                    raise ValueError(record)
                conversations[Place(path, line)] = conversation(record, json.loads(columns))
                unused.update(record.keys() - read_columns(record, json.loads(columns)))
            except ValueError as error:
                bad[Place(path, line)] = str(error)
    return Read(conversations, bad, unused)
