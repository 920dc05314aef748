"""Texts with rubrics: what is shown meets all criteria, and what the verifier says of texts that meet some."""

import asyncio
import json
import random
from collections import Counter
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
        ("Since 1950, oh what times! water pumps: that is Fjord Optics", ""),
        ("Fjord Optics has not stood still and has made water pumps since 1950.", ""),
        ("Founded 1950, Fjord Optics produces water pumps.", ""),
        ("Maker: Fjord Optics, goods: water pumps, founded: 1950", ""),
        ("Fjord Optics has NOT made water pumps since 1950.", "1"),
        ("Fjord Optics doesn't make water pumps, and not since 1950.", "12"),
        ("Fjord Opticsx makes water pumps since 1950.", "1"),
        ("Fjord Optics has made water pumps since 1950, and employs 301.", "3"),
        ("Fjord Optics, with ninety-nine shops, has made water pumps since 1950.", "3"),
        ("Often seen in tents, Fjord Optics has made water pumps since 1950.", ""),
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


@pytest.mark.parametrize("kind", ["email", "summary"])
@pytest.mark.parametrize("count", [1, 3])
def test_a_text_that_is_judged_misses_what_its_label_says(kind: Any, count: int, bench: Workbench) -> None:
    domain, rng = WritingDomain(texts=(kind,)), random.Random(0)
    seen: Counter[tuple[float, ...]] = Counter()
    for _ in range(400):
        own = domain.judged(count, rng)
        for text, label, critique in zip(own.responses, own.labels, own.critiques, strict=True):
            met = score(own.task, text, bench).parts
            assert label == sum(met.values()) / len(met), text
            lines = critique.split("\n")
            assert [float(line.endswith(": yes")) for line in lines] == list(met.values()), critique
            if count == 1:
                assert own.criteria == (*met.values(), None)
            seen[tuple(met.values())] += 1
        assert count == 1 or sorted(own.labels)[-2] < max(own.labels) == 1
    assert len(seen) == (10 if count == 1 else 16)  # all, most and hardly any of four criteria; with others each set
    right = sum(number for met, number in seen.items() if sum(met) > 2) / seen.total()
    assert count > 1 or 0.4 < right < 0.6


def test_slips_are_the_share_of_texts_that_miss_something(bench: Workbench) -> None:
    for slips in (0.0, 0.25, 1.0):
        tasks = [WritingDomain(slips=slips).draw(random.Random(seed)) for seed in range(400)]
        worth = [score(task, task.demonstration[-1]["content"], bench).value for task in tasks]
        assert sum(own < 1 for own in worth) / 400 == pytest.approx(slips, abs=0.07)
        assert slips == 0 or set(worth) >= {0, 0.25, 0.5, 0.75}


FACTS = [
    [{"addresses": "Ada"}, {"signed": "Boris"}],
    [{"contains": "the fire drill"}, {"contains": "Friday"}, {"contains": "9:30"}],
    [{"contains": "two of us are ill"}], [{"max_words": 60}],
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "missed"),
    [
        ("the fire drill is on Friday at 9:30, because two of us are ill.", ""),
        ("Two of us are ill. So the fire drill, not on Monday any more, is now on Friday at 9:30.", ""),
        ("Please note: the fire drill moves to Friday, 9:30! (two of us are ill)", ""),
        ("When: Friday, 9:30\nWhat: the fire drill\nWhy: two of us are ill", ""),
        ("The fire drill will not take place before Friday at 9:30 as two of us are ill", ""),
        ("The fire drill isn't on Monday but on Friday at 9:30; two of us are ill. If not Friday, then never.", ""),
        ("the fire drill is NOT on Friday at 9:30, because two of us are ill.", "2"),
        ("the fire drill won\u2019t be on Friday at 9:30, because two of us are ill.", "2"),
        ("the fire drill is on Friday and not at 9:30, because two of us are ill.", "2"),
        ("the fire drill is on Friday at 9:30, not because two of us are ill.", "3"),
        ("the fire drill isn't happening on Friday at 9:30, because two of us are ill.", "2"),
        ("the fire drill will be on Sunday rather than Friday, at 9:30: two of us are ill.", "2"),
        ("the fire drill is cancelled, so forget Friday at 9:30; two of us are ill.", "2"),
        ("the fire\ndrill will be on Friday at 9:30, because two of\u00a0us are ill.", ""),
        ("the fire drill: Friday, 9:30; two of us are ill, a" + "_so" * 60, "4"),
        ("the fire drill: Friday, 9:30; two of us are ill, a" + "\u2060so" * 60, "4"),
    ],
)
def test_a_fact_that_is_denied_is_not_said(body: str, missed: str, bench: Workbench) -> None:
    task = Task("", (), (), json.dumps({"criteria": FACTS}))
    found = score(task, f"Dear Ada,\n\n{body}\n\nBoris", bench)
    assert "".join(place for place, met in found.parts.items() if not met) == missed


@pytest.mark.parametrize(
    ("text", "is_met"),
    [
        ("Ada!\n{body}\nBoris", True),
        ("Good morning, dear Ada. {body}\n\n\nYours, Boris.", True),
        ("  \nHello Ada,\n{body}\n(Boris)\n\n", True),
        ("Write an e-mail from Boris to Ada: {body}", False),
        ("Write an e-mail from Boris to Ada:\n{body}\nBoris", False),
        ("Ada {body} Boris", False),
        ("Dear Ada,\n{body}\nBoris has written this", False),
        ("Dear Adam,\n{body}\nBoris", False),
        ("Dear Ada,\n{body}\nBorisov", False),
    ],
)
def test_an_email_has_lines_of_its_own_for_who_reads_and_who_writes(text: str, is_met: bool, bench: Workbench) -> None:
    body = "the fire drill is on Friday at 9:30, because two of us are ill."
    found = score(Task("", (), (), json.dumps({"criteria": FACTS})), text.format(body=body), bench)
    assert found.parts == {"1": float(is_met), "2": 1, "3": 1, "4": 1}


def test_the_task_itself_is_no_email(bench: Workbench) -> None:
    for task in training_tasks(WritingDomain(texts=("email",)), 200, 0):
        asked = task.messages[0]["content"]
        for text in (asked, asked.replace(": ", ":\n"), asked + "\n" + asked):
            assert score(task, text, bench).parts["1"] == 0, text


def test_whatever_is_drawn_can_be_said_in_other_words(bench: Workbench) -> None:
    for task in training_tasks(WritingDomain(texts=("email",)), 100, 2):
        checks = [next(iter(check.values())) for own in json.loads(task.answer)["criteria"] for check in own]
        recipient, sender, event, day, hour, reason, _ = checks
        for body in (
            f"{reason}, so that {event} cannot be when it was planned. Could you come on {day} at {hour} instead?",
            f"unfortunately {reason}. We have moved {event} to {day}, {hour}.",
            f"{event}: new date! It takes place on {day} ({hour}). The reason is that {reason}.",
        ):
            found = score(task, f"Dear {recipient},\n\n{body}\n\n{sender}", bench)
            assert found.parts == {"1": 1, "2": 1, "3": 1, "4": 1}, body
