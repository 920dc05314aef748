"""Instructions as a domain: its demonstrations follow them, and held out means never trained on."""

import json
import random

import pytest

from polymath.chat.tokens import first_token
from polymath.domains import instruct as module
from polymath.domains import is_held_out
from polymath.domains.instruct import APART, IDS, ONLY_WITH, PHRASES, InstructDomain, compatible
from polymath.domains.task import Task
from rewards.instructions import check, strict

for package in ("langdetect", "nltk", "punkt"):
    pytest.importorskip(package)

NAMES = [one.partition(":")[2] for one in IDS]


def drawn(count: int, seed: int = 0, **settings) -> list[Task]:
    domain, rng = InstructDomain(**settings), random.Random(seed)
    return [domain.draw(rng) for _ in range(count)]


def asked(task: Task) -> list[dict]:
    return json.loads(task.answer)["instructions"]


@pytest.mark.parametrize("most", [1, 3])
def test_demonstrations_follow_every_instruction(most: int) -> None:
    seen = set()
    for task in drawn(300, max_instructions=most):
        (message,), answer = task.demonstration, json.loads(task.answer)
        assert answer["prompt"] == task.messages[-1]["content"]
        assert 1 <= len(answer["instructions"]) <= most
        assert strict(answer["instructions"], message["content"], answer["prompt"]) == [True] * len(asked(task))
        assert message["reasoning"].count(";") >= len(asked(task)) - 1
        seen |= {one["id"] for one in asked(task)}
    assert seen == {*IDS}


@pytest.mark.parametrize("one", IDS)
def test_each_instruction_can_be_drawn_alone(one: str) -> None:
    for task in drawn(30, instructions=(one,), max_instructions=3):
        (instruction,) = asked(task)
        assert instruction["id"] == one
        check(one, instruction["arguments"])


def test_what_is_asked_stands_in_the_prompt() -> None:
    for task in drawn(500, max_instructions=3):
        prompt = task.messages[-1]["content"]
        for one in asked(task):
            for name, value in one["arguments"].items():
                shown = module.LANGUAGES[value] if name == "language" else value
                assert all(str(part) in prompt for part in (shown if isinstance(shown, list) else [shown])), one
            assert "{" not in prompt and "|" not in prompt


def test_the_request_is_what_is_to_be_repeated() -> None:
    for task in drawn(50, instructions=("detectable_format:title", "combination:repeat_prompt")):
        first, prompt = asked(task)[0], task.messages[-1]["content"]
        if first["id"] == "combination:repeat_prompt":
            assert prompt.startswith(first["arguments"]["prompt_to_repeat"])
        assert all(one["id"] != "combination:repeat_prompt" for one in asked(task)[1:])


def test_the_tables_name_every_instruction_and_no_other() -> None:
    assert set(PHRASES) == set(NAMES) and len(set(NAMES)) == 25
    named = " ".join((*ONLY_WITH, *ONLY_WITH.values(), *APART)).split()
    steps = {*module.ON_SENTENCES, *module.LAYOUTS, *module.ON_TEXT}
    assert {*named, *steps} <= set(NAMES)
    assert set(NAMES) - steps == {"no_comma"}  # it decides what is said
    assert all(len(phrase.split("|")) == 2 for phrase in PHRASES.values())


def test_what_cannot_go_together_is_never_asked_together() -> None:
    assert all(compatible(one, other) == compatible(other, one) for one in NAMES for other in NAMES)
    assert not any(compatible(one, one) for one in NAMES)
    assert not any(compatible("constrained_response", one) for one in NAMES)
    assert not compatible("english_lowercase", "capital_word_frequency")
    assert not compatible("response_language", "existence")
    for task in drawn(500, max_instructions=3):
        names = [one["id"].partition(":")[2] for one in asked(task)]
        assert all(compatible(one, other) for one in names for other in names if one != other)


def test_counted_words_stand_nowhere_else() -> None:
    texts = (
        *module.SENTENCES,
        *module.CLOSINGS,
        *module.KINDS.values(),
        *module.GAPS,
        *module.POINTS,
        module.ACTIVITIES,
    )
    texts += (
        module.SETTINGS,
        module.AUDIENCES,
        *module.POSTSCRIPTS,
        *module.ENDINGS,
        *module.REQUESTS,
        *module.KEYWORDS,
    )
    assert not [word for word in module.FREQUENT if word in " ".join(texts).lower()]
    assert not set(module.FREQUENT) & set(module.KEYWORDS)


def test_a_seed_decides_the_tasks() -> None:
    assert drawn(50, 1) == drawn(50, 1) != drawn(50, 2)


def test_evaluation_shares_no_request_with_training() -> None:
    tasks = drawn(6000)
    trained, held_out = ({t.key for t in tasks if is_held_out(t) is side} for side in (False, True))
    sides = {task.messages[-1]["content"]: is_held_out(task) for task in tasks}
    assert len(trained) > 4000 and len(held_out) > 500
    assert not trained & held_out
    assert all(sides[task.messages[-1]["content"]] == is_held_out(task) for task in tasks)
    assert len(sides) > 5900


def test_no_text_holds_a_token_of_the_format() -> None:
    for task in drawn(1000, max_instructions=3):
        assert first_token(json.dumps([task.messages, task.demonstration], ensure_ascii=False)) is None


def test_the_settings_are_checked() -> None:
    for settings in ({"max_instructions": 4}, {"instructions": ()}, {"instructions": ("keywords:all",)}, {"most": 1}):
        with pytest.raises(ValueError):
            InstructDomain.model_validate(settings)
