"""Rows: tasks rendered for one model. A row is the one type from the domain to the loss."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from polymath.chat import Mode, Template
from polymath.domains import Domain, held_out_tasks, training_tasks
from polymath.domains.task import Task

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Row:
    """A task in one think mode, as text.

    `prompt` ends where the model begins to write, `completion` is the demonstration with the end of the turn,
    `answer` is what the reward named `reward` verifies.
    """

    prompt: str
    completion: str
    domain: str
    mode: Mode
    reward: str
    answer: str


def training_rows(
    domains: Mapping[str, Domain],
    shares: Mapping[str, int],
    modes: Sequence[Mode],
    count: int,
    seed: int,
    template: Template,
) -> list[Row]:
    """`count` rows, in turn from the domains by their shares and from every mode, none of them held out."""
    turn = [name for name, share in shares.items() for _ in range(share)]
    drawn = {name: turn.count(name) * -(-count // len(turn)) for name in shares}
    tasks = {name: iter(enumerate(training_tasks(domains[name], n, seed))) for name, n in drawn.items()}
    rows = []
    for name in (turn[index % len(turn)] for index in range(count)):
        index, task = next(tasks[name])
        rows.append(_row(name, domains[name], task, modes[index % len(modes)], template))
    return rows


def held_out_rows(name: str, domain: Domain, mode: Mode, count: int, seed: int, template: Template) -> list[Row]:
    """`count` rows of one domain and mode that training never sees."""
    return [_row(name, domain, task, mode, template) for task in held_out_tasks(domain, count, seed)]


def _row(name: str, domain: Domain, task: Task, mode: Mode, template: Template) -> Row:
    return Row(
        prompt=template.prompt(task.question, mode),
        completion=template.completion(task.demonstration, mode),
        domain=name,
        mode=mode,
        reward=domain.reward,
        answer=task.answer,
    )


def prompt_dataset(rows: Sequence[Row]) -> "Dataset":
    """Rows as the on-policy trainers read them; every column reaches the rewards and the loss."""
    from datasets import Dataset

    return Dataset.from_list(
        [{key: value for key, value in asdict(row).items() if key != "completion"} for row in rows]
    )


def demonstration_dataset(rows: Sequence[Row], tokenizer: "PreTrainedTokenizerBase") -> "Dataset":
    """Rows as `SFTTrainer` reads them, tokenized here.

    Prompt and completion are encoded apart, as they are when the model samples: encoded as one text, tokens could merge
    across the boundary, and the model would train on a prompt that it never sees.
    """
    from datasets import Dataset

    prompts = tokenizer([row.prompt for row in rows], add_special_tokens=False)["input_ids"]
    completions = tokenizer([row.completion for row in rows], add_special_tokens=False)["input_ids"]
    return Dataset.from_list(
        [
            {"input_ids": prompt + completion, "completion_mask": [0] * len(prompt) + [1] * len(completion)}
            for prompt, completion in zip(prompts, completions, strict=True)
        ]
    )


def digest(rows: Sequence[Row]) -> str:
    """SHA-256 of the rows' content."""
    return hashlib.sha256(json.dumps([asdict(row) for row in rows]).encode()).hexdigest()
