"""Whether budgets hold what is written in them, adapters find what they are put on, and teachers speak the student's
tokens, before any stage trains.

Lengths are known as soon as there is a tokenizer, modules as soon as there is a configuration: with the models that a
run begins with.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from polymath import data, models
from polymath.chat import Format, format_for
from polymath.data import Row
from polymath.domains.task import question, reply
from polymath.judging import verdict
from polymath.source import Problem
from polymath.stage import StageJob, TrainingConfig, origin
from polymath.targets import unknown_targets
from polymath.training import draw_rows
from polymath.vocabulary import apart

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ROWS = 128  # of a stage, its first ones; of the others it finds out as it begins


def unfit(jobs: Sequence[StageJob], done: Sequence[str]) -> list[Problem]:
    """What in stages that are not done cannot be, and what it would have to be."""
    known, tokenizer_of = {job.name: job for job in jobs}, cache(models.load_tokenizer)
    found: dict[Problem, None] = {}
    for job in (own for own in jobs if own.name not in done):
        model = origin(job, known).files.model
        if isinstance(job.config, TrainingConfig) and model.exists():
            tokenizer = tokenizer_of(model)
            form = format_for(job.chat, tokenizer)
            rows = draw_rows(job, form, min(job.config.row_count(), ROWS))
            found |= dict.fromkeys([*_lengths(job, rows, tokenizer), *_judge(job, tokenizer, form)])
        found |= dict.fromkeys(_teachers(job, known))
    return [*found, *unknown_targets(jobs, done)]


def _teachers(job: StageJob, known: Mapping[str, StageJob]) -> Iterator[Problem]:
    """Teachers that go back to another model than the student give tokens the same numbers."""
    config: Any = job.config
    for domain, name in getattr(config, "teacher_models", {}).items():
        ours, theirs = (origin(known[own], known).files.model for own in (config.from_, name))
        if ours != theirs and ours.exists() and theirs.exists() and (fault := apart(ours, theirs)):
            yield Problem(("stages", job.name, "teacher_models", domain), f"found {name!r}; {fault}")


def _lengths(job: StageJob, rows: Sequence[Row], tokenizer: "PreTrainedTokenizerBase") -> Iterator[Problem]:
    """Modes have room for demonstrations, and a `max_length` for more than prompts."""
    longest: int | None = getattr(job.config, "max_length", None)
    for mode, (row, length) in data.over_budget(rows, tokenizer, longest).items():
        yield Problem(("modes", mode, "max_completion_length"), f"found {row.budget}; {data.needs(row, length)}")
    if longest is None:
        return
    lost, prompts = data.without_answer(
        (own["completion_mask"] for own in data.demonstrations(rows, tokenizer)), longest
    )
    if lost == len(rows):
        yield Problem(("stages", job.name, "max_length"), f"found {longest}; {data.NO_ANSWER}, for {prompts}: raise it")


def _judge(job: StageJob, tokenizer: "PreTrainedTokenizerBase", form: Format) -> Iterator[Problem]:
    """A judge of the run has room for its shortest verdict."""
    config: Any = job.config
    judge = getattr(config, "judge", None)
    if judge is None or judge.kind == "external":  # whose tokens nobody knows
        return
    rubric = next((own for reward in config.rewards if (own := getattr(reward, "rubric", None))), None)
    last = verdict([0] * (judge.responses if judge.responses > 1 else len(rubric.criteria) if rubric else 1))
    written = [own for own in form.conversation([*question("?"), reply(last)], judge.think, ()) if own.generated]
    least = sum(len(tokenizer.encode(own.text, add_special_tokens=False)) for own in written)
    if judge.max_completion_length < least:
        yield Problem(
            ("stages", job.name, "judge", "max_completion_length"),
            f"found {judge.max_completion_length}; a verdict without any reasoning, {last!r}, takes {least} tokens: "
            "raise it",
        )
