"""A user's own conversations, from files: each answer of a conversation is a task, with all that was said before it."""

import hashlib
import json
import os
import random
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Literal

from pydantic import Field, NonNegativeInt, ValidationInfo, field_validator, model_validator

from polymath import places
from polymath.dataset.layouts import Conversation, Part
from polymath.dataset.reading import Read, read
from polymath.domains.task import Message, Task
from polymath.strict import StrictModel

TOLD = 3  # rows that a message names


class DatasetDomain(StrictModel):
    """Conversations of JSON lines, JSON, CSV, TSV or parquet files; one in eight is held out, by what it asks first."""

    kind: Literal["dataset"] = "dataset"
    files: tuple[Path, ...] = Field(min_length=1, description="As many as there are, of any of these kinds.")
    columns: Mapping[Part, str] = Field(
        default={}, description="Names of columns, where they are not told by themselves."
    )
    bad_rows: NonNegativeInt = Field(
        default=0,
        description="How many rows that cannot be used are known of, and left out; with others it is refused.",
    )
    reward: str = Field(
        default="reference",
        description="A verifier, which is given the answer of the file: `reference` compares with it, `math_answer` "
        "reads a number in it, or `module:function`.",
    )

    @field_validator("files")
    @classmethod
    def _are_found_from_any_folder(cls, files: tuple[Path, ...], info: ValidationInfo) -> tuple[Path, ...]:
        return tuple(places.found(path, info) for path in files)

    @model_validator(mode="after")
    def _can_be_read(self, info: ValidationInfo) -> "DatasetDomain":
        try:
            found = self.read()
        except ValueError as error:
            gone = not all(map(os.path.exists, self.files))
            raise ValueError(f"{error}{places.beside(places.folder_of(info), ' and from') if gone else ''}") from error
        told = "; ".join(f"{place}: {fault}" for place, fault in islice(found.bad.items(), TOLD))
        if not found.conversations:
            raise ValueError(f"no row that can be used in {', '.join(map(str, self.files))}; {told or 'it is empty'}")
        if not found.bad and self.bad_rows:
            raise ValueError(f"every row can be used, and bad_rows is {self.bad_rows}: set it to 0, or take it out")
        if (count := len(found.bad)) != self.bad_rows:
            raise ValueError(
                f"{count} row{'' if count == 1 else 's'} cannot be used, and bad_rows is {self.bad_rows}; "
                f"{told}: mend them, or leave them out with bad_rows: {count}"
            )
        return self

    def read(self) -> Read:
        """The conversations, and what is none."""
        return read(self.files, self.columns)

    def tasks(self) -> Iterator[Task]:
        """Every answer of every conversation."""
        for own in self.read().conversations.values():
            yield from tasks_of(own, self.reward)

    def draw(self, rng: random.Random) -> Task:
        """One of them."""
        conversations = list(self.read().conversations.values())
        return rng.choice(tasks_of(rng.choice(conversations), self.reward))

    def source_files(self) -> tuple[Path, ...]:
        """What the tasks come from: when it changes, what was trained on them is out of date."""
        return self.files


def tasks_of(own: Conversation, reward: str) -> list[Task]:
    """One task for each question that is answered, with all that was said before; all have one key.

    A model reads a conversation question by question, and forgets what it reasoned before the last one (V4 report,
    section 5.1.1): what it learns from has to look the same.
    """
    asked = [place for place, message in enumerate(own.messages) if message["role"] == "user"]
    text = own.messages[asked[0]]["content"]
    first = "".join(filter(str.isalnum, text.casefold())) or text
    # Texts that differ in a letter or two, as those of a template do, fall on either side by chance
    key = f"dataset {hashlib.sha256(first.encode()).hexdigest()}"
    out = []
    for place, following in zip(asked, [*asked[1:], len(own.messages)], strict=True):
        answer = own.messages[place + 1 : following]
        if answer and answer[-1]["role"] == "assistant":
            said = reference(answer[-1]) if reward == "reference" else answer[-1]["content"]
            out.append(Task(key, own.messages[: place + 1], answer, said, own.tools))
    return out


def reference(answer: Message) -> str:
    """What the verifier `reference` compares with: what the last turn says, and which calls it makes."""
    calls = [own["function"] for own in answer["tool_calls"]]
    return json.dumps({"content": answer["content"], "calls": calls})
