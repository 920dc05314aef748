"""Texts with rubrics: what is shown meets all criteria, and what the verifier says of texts that meet some."""

import asyncio
import json
import random
from typing import Any

import pytest

from polymath.completion import demonstrated
from polymath.domains import held_out_tasks, training_tasks
from polymath.domains.task import Task
from polymath.domains.writing import WritingDomain
from rewards import Workbench
from rewards.gold import check_gold
from rewards.score import Score


def score(task: Task, text: str, bench: Workbench) -> Score:
    (found,) = asyncio.run(
        bench.verify([demonstrated([{"role": "assistant", "content": text}], "writing", task.answer)])
    )
    return found


@pytest.mark.parametrize("kind", ["email", "summary"])
def test_what_is_shown_meets_every_criterion(kind: Any, bench: Workbench) -> None:
    domain = WritingDomain(texts=(kind,))
    check_gold({"own": domain}, bench, 0, count=200)
    for task in training_tasks(domain, 50, 1):
        assert task.rubric is not None and len(task.rubric.criteria) == 1 + len(json.loads(task.answer)["criteria"])
    assert len({task.messages[0]["content"] for task in held_out_tasks(domain, 300, 0)}) == 300


def test_each_criterion_of_an_email_counts(bench: Workbench) -> None:
    task = WritingDomain(texts=("email",)).draw(random.Random(3))
    shown = task.demonstration[-1]["content"]
    first, *_, last = shown.split("\n")
    hour = shown.partition(" at ")[2].partition(",")[0]
    spoilt = {
        "1": shown.removesuffix(last) + "Me",
        "2": shown.replace(hour, "noon"),
        "3": shown.replace(shown.partition("because ")[2].partition(". I am")[0], "it has to"),
        "4": shown.replace("\n\nKind", " so" * 80 + "\n\nKind"),
    }  # fmt: skip
    assert score(task, shown, bench).value == 1
    for place, text in spoilt.items():
        found = score(task, text, bench)
        assert [own for own, met in found.parts.items() if not met] == [place] and found.value == 0.75, text
    assert score(task, first.upper() + shown.removeprefix(first), bench).value == 1
    assert score(task, "", bench).value == 0


@pytest.mark.parametrize(
    ("text", "missed"),
    [
        ("Fjord Optics, of Ghent, has made water pumps since 1950.", ""),
        ("fjord optics makes WATER PUMPS (since 1950)", ""),
        ("Fjord Optics makes water pumps since 19500.", "23"),
        ("Fjord Opticsx makes water pumps since 1950.", "1"),
        ("Fjord Optics has made water pumps since 1950, and employs 301.", "3"),
        ("Fjord Optics has made water pumps since 1950, and employs 300, " + "so " * 30, "4"),
    ],
)
def test_a_summary_is_held_against_its_text(text: str, missed: str, bench: Workbench) -> None:
    checks = [
        [{"contains": "Fjord Optics"}, {"contains": "water pumps"}], [{"contains": "1950"}],
        [{"numbers_of": [1950, 1970, 30, 300]}], [{"max_words": 20}],
    ]  # fmt: skip
    task = Task("", (), (), json.dumps({"criteria": checks}))
    assert "".join(place for place, met in score(task, text, bench).parts.items() if not met) == missed
