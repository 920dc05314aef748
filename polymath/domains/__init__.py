"""Domains: where prompts, demonstrations, verifiable answers and held-out tasks come from.

A domain is its own configuration: a frozen model with a `kind`, the name of the reward that verifies its answers, and
`draw`, which makes one task. Everything else follows from that here. Which tasks are held out is a property of the task
(a hash of its key), so training and evaluation share no prompt however many are drawn, with whatever seed.
"""

import json
import random
import zlib
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from polymath.domains.agent import AgentDomain
from polymath.domains.arithmetic import MathDomain
from polymath.domains.assessed import AssessedDomain
from polymath.domains.bfcl import BfclDomain
from polymath.domains.coding import CodeDomain
from polymath.domains.dataset import DatasetDomain
from polymath.domains.gym import GymDomain
from polymath.domains.instruct import InstructDomain
from polymath.domains.judge import JudgeDomain
from polymath.domains.python import PythonDomain
from polymath.domains.task import Task
from polymath.domains.writing import WritingDomain

Domain = Annotated[
    MathDomain
    | AgentDomain
    | CodeDomain
    | InstructDomain
    | GymDomain
    | BfclDomain
    | PythonDomain
    | DatasetDomain
    | JudgeDomain
    | AssessedDomain
    | WritingDomain,
    Field(discriminator="kind"),
]
Split = Literal["train", "held_out"]

HELD_OUT_SHARE = 8  # one task in so many is held out
LAST_DRAWS = 4000, 100  # in vain before a domain counts as too small: so many, and more for each task that it gave


def is_held_out(task: Task) -> bool:
    """Whether a task belongs to evaluation; the same for every run, seed and recipe."""
    return zlib.crc32(task.key.encode()) % HELD_OUT_SHARE == 0


def is_evaluation_only(domain: Domain) -> bool:
    """Whether none of a domain's tasks may be trained on."""
    return bool(getattr(domain, "evaluation_only", False))


def training_tasks(domain: Domain, count: int, seed: int) -> list[Task]:
    """`count` tasks that are not held out; a small domain repeats some."""
    if is_evaluation_only(domain):
        raise ValueError(f"domain {domain.kind!r} with these settings is for evaluation only; no stage may train on it")
    return _draw(domain, count, random.Random(f"{seed}/train"), held_out=False, unique=False)


def held_out_tasks(domain: Domain, count: int, seed: int) -> list[Task]:
    """`count` held-out tasks with different questions; of a domain for evaluation only, any are held out."""
    return _draw(domain, count, random.Random(f"{seed}/held_out"), held_out=True, unique=True)


def held_out_count(domain: Domain, most: int) -> int:
    """How many held-out tasks with different questions one may ask for, at most so many."""
    if not isinstance(domain, DatasetDomain):
        return most
    return min(most, len({json.dumps(task.messages) for task in domain.tasks() if is_held_out(task)}))


def _stream(domain: Domain, rng: random.Random) -> Iterator[Task]:
    """Tasks without end: of a domain that has so many and no more, all of them before any comes again."""
    known = list(domain.tasks()) if isinstance(domain, DatasetDomain) else []
    while True:
        yield from rng.sample(known, len(known)) if known else (domain.draw(rng),)


def _draw(domain: Domain, count: int, rng: random.Random, *, held_out: bool, unique: bool) -> list[Task]:
    tasks: list[Task] = []
    seen: set[str] = set()
    in_vain, (few, more) = 0, LAST_DRAWS
    for task in _stream(domain, rng):
        asked = json.dumps(task.messages)
        is_other_side = is_held_out(task) != held_out and not is_evaluation_only(domain)
        if is_other_side or (unique and asked in seen):
            in_vain += 1
            if in_vain > few + more * len(tasks):
                break
            continue
        in_vain = 0
        seen.add(asked)
        tasks.append(task)
        if len(tasks) == count:
            return tasks
    raise ValueError(
        f"domain {domain.kind!r} has only {len(tasks)} of the {count} {'held-out' if held_out else 'training'} tasks "
        f"asked for: lower num_prompts, num_rows or judge.trust.probe_prompts, or widen the domain's settings"
    )
