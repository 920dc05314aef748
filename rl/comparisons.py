"""Judgments that people have made, as a JSONL file: one task a line, with responses and what they are worth."""

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError, model_validator

from polymath.judging import Rubric, Showable, without_scores
from polymath.source import nearest
from polymath.strict import StrictModel
from rl.cases import Case


def _says_something(text: str) -> str:
    if not without_scores(text).strip():
        raise ValueError("is empty, as a judge is shown it: write it out, or take the line out")
    return text


Text = Annotated[Showable, AfterValidator(_says_something)]
Label = Annotated[float, Field(ge=0, le=1, strict=True)]


class Comparison(StrictModel):
    """`{"task", "responses", "best"}`, the place of the best response from 0, or `labels` from 0 to 1 in place of that.

    `rubric` is what they are judged by, the reward's where it is not given.
    """

    task: Text
    responses: tuple[Text, ...] = Field(min_length=1, max_length=9)
    best: int | None = Field(default=None, ge=0, strict=True)
    labels: tuple[Label, ...] = ()
    rubric: Rubric | None = None

    @model_validator(mode="after")
    def _every_response_has_a_label(self) -> "Comparison":
        if (self.best is None) == (not self.labels):
            raise ValueError("give best (the place of the best response, from 0), or labels, one for each response")
        if self.best is not None and (self.best >= len(self.responses) or len(self.responses) == 1):
            raise ValueError(f"best is {self.best} of {len(self.responses)} responses, and counts from 0 among several")
        if len({without_scores(own).strip() for own in self.responses}) < len(self.responses):
            raise ValueError("some of the responses are the same, as a judge is shown them")
        if len(self.labels) > 1 and len(set(self.labels)) == 1:
            raise ValueError("all labels are the same, and no verdict could be told from another")
        if self.labels and len(self.labels) != len(self.responses):
            raise ValueError(f"{len(self.labels)} labels for {len(self.responses)} responses")
        return self

    def case(self, rubric: Rubric) -> Case:
        """What a judge is asked, by this rubric."""
        labels = self.labels or tuple(float(place == self.best) for place in range(len(self.responses)))
        of = ("",) * len(self.responses)
        return Case(of=of, rubric=rubric, task=self.task, responses=self.responses, labels=labels)


def read_comparisons(path: Path, rubric: Rubric | None) -> dict[int, Case]:
    """All of a file's by their lines, from 1, with this rubric where one has none.

    Raises `ValueError` that names file, line and field.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from error
    found = {number: _read(line, f"{path}:{number}", rubric) for number, line in enumerate(lines, 1) if line.strip()}
    if not found:
        raise ValueError(f"{path}: holds no comparison; leave judge.comparisons out")
    return found


def _read(line: str, place: str, rubric: Rubric | None) -> Case:
    try:
        given: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place}: no JSON: {error}") from error
    try:
        own = Comparison.model_validate(given)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        said, value = fault["msg"].removeprefix("Value error, "), fault["input"]
        found = f", found {value!r}" if isinstance(value, str | int | float) and len(repr(value)) < 80 else ""
        if fault["type"] == "extra_forbidden":
            said, found = "unknown field", nearest(str(fault["loc"][-1]), Comparison.model_fields)
        raise ValueError(f"{place}: {where + ': ' if where else ''}{said}{found}") from error
    if (by := own.rubric or rubric) is None:
        raise ValueError(f"{place}: rubric: is missing, and the reward 'rubric' has none: give either one")
    return own.case(by)
