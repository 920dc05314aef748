"""The judge at work: which votes and tasks it is given, what its looks show, and when its votes are a reward."""

import asyncio
import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from pydantic import TypeAdapter

from polymath.alarms import Alarm
from polymath.chat import V4Format
from polymath.chat.tokens import EOS
from polymath.completion import Completion
from polymath.data import Row, _row
from polymath.domains.task import Task, reply
from polymath.domains.writing import WritingDomain
from polymath.engine.local import LocalEngine
from polymath.engine.protocol import Request, Sample, Watch
from polymath.episodes import Episode
from polymath.judging import Criterion, Rubric, Vote, read_rubric, verdict
from polymath.run_dir import StageDir, read_json, read_lines
from polymath.sandbox_config import SandboxConfig
from polymath.stage import ModeConfig
from rewards import Judgment, OwnVerifier, RubricReward, open_bench
from rewards.rubric import mean_vote
from rewards.score import Score
from rewards.scorer import Scorer
from rl.cases import Case, Side
from rl.comparisons import read_comparisons
from rl.config import GrpoConfig
from rl.hands import Batch, Labelled, balanced, contrasts, dealt, votes_of
from rl.judge_config import ExternalJudge, Judge, PolicyJudge
from rl.judges import ExternalModel, FrozenModel
from rl.jury import Jury
from rl.replay import Replay
from rl.trust import LEAST, Judged, Trust, TrustConfig, measure

RIGHT = Rubric(criteria=(Criterion(text="right"),))
Opinion = Callable[[str, str], int]  # task and response -> a score from 0 to 10


def wrote(row: Batch, content: str, name: str = "1/0", faults: tuple[str, ...] = ()) -> None:
    """Let a completion stand in a row."""
    broken = [type("Fault", (), {"message": fault}) for fault in faults]
    turn = {"role": "assistant", "content": content, "reasoning": "", "tool_calls": [], "faults": broken}
    same = {key: row.get(key, "") for key in ("reward", "answer", "prompt", "rubric")}
    row["sample"] = Completion((turn,), name=name, **same)


def sum_row(a: int, b: int, domain: str = "sums") -> Batch:
    asked = {"prompt": f"<{domain}: {a} + {b}>", "asked": f"{a} + {b}", "domain": domain, "rubric": ""}
    return asked | {"reward": "math_answer", "answer": str(a + b), "task": f"{a} + {b}"}


def answered(*answers: str, a: int = 2, b: int = 3, domain: str = "sums") -> list[Batch]:
    rows = [sum_row(a, b, domain) for _ in answers]
    for place, (row, answer) in enumerate(zip(rows, answers, strict=True)):
        wrote(row, answer, f"1/{place}")
    return rows


def judging(judge: Opinion) -> Callable[[list[Batch]], None]:
    """A judge who reads the prompt, and scores each response for itself."""

    def ask(rows: list[Batch]) -> None:
        for row in rows:
            task = re.findall("<task>(.*?)</task>", row["asked"], re.DOTALL)[0]
            responses = re.findall(r"<response(?: \d)?>(.*?)</response(?: \d)?>", row["asked"], re.DOTALL)
            wrote(row, f"Well.\n{verdict([judge(task, own) for own in responses])}")

    return ask


def honest(task: str, response: str) -> int:
    return 10 if response == str(sum(map(int, task.split(" + ")))) else 0


class Stage:
    """A jury in a folder, and what it told of."""

    def __init__(self, folder: Path, judge: Opinion | None, probe: list[Batch] = [], **config: Any) -> None:  # noqa: B006
        self.folder, self.alarms, self.asked = StageDir(folder), list[Alarm](), list[str]()
        settings = TypeAdapter[Any](Judge).validate_python(config)
        rewards = [RubricReward(rubric=RIGHT), OwnVerifier(), *([Judgment()] if settings.groups(8) else [])]
        self.answers, self.room = judging(judge) if judge else (lambda rows: None), 10_000
        self.jury = Jury(
            settings, Scorer(rewards, open_bench(SandboxConfig())), V4Format(), self.folder,
            judge=self, probe=probe or [sum_row(2, 3)], tell=self.alarms.append,
        )  # fmt: skip

    def ask(self, rows: list[Batch]) -> None:
        self.asked += [row["asked"] for row in rows]
        self.answers(rows)

    def fits(self, row: Batch) -> bool:
        return len(row["prompt"]) <= self.room

    def look(self, step: int, answer: Callable[[list[Batch]], None], answers: int) -> dict[str, float]:
        self.jury.begin(step)
        return self.jury.look(answer, answers)

    def trusting(self) -> Jury:
        self.jury.trust["sums"].feed(1, {"agreement": 1.0, "gap": 0.0})
        assert self.is_trusted()
        return self.jury

    def is_trusted(self) -> bool:
        return all(own.holds() for own in self.jury.trust.values())


def test_the_mean_of_votes_leaves_out_what_cannot_be_read() -> None:
    score = mean_vote([Vote(1.0, (1.0, 1.0)), Vote(None, fault="no scores"), Vote(0.5, (1.0, 0.0))])
    assert score is not None
    assert (score.value, score.parts, score.faults) == (0.75, {"1": 1.0, "2": 0.5}, ("no scores",))
    assert mean_vote([]) is None and mean_vote([Vote(None, fault="no scores")]) is None


@pytest.mark.parametrize(
    ("count", "size", "sizes"),
    [(8, 1, [1] * 8), (8, 4, [4, 4]), (5, 4, [4, 4]), (3, 2, [2, 2]), (3, 4, [3]), (1, 4, []), (1, 1, [1]), (0, 4, [])],
)
def test_completions_are_dealt_into_hands_of_the_size_that_looks_measure(
    count: int, size: int, sizes: list[int]
) -> None:
    rows = [{"place": place} for place in range(count)]
    for seed in range(20):
        hands = dealt(rows, size, random.Random(seed))
        assert [len({row["place"] for row in hand}) for hand in hands] == sizes  # nothing is beside itself
        assert {row["place"] for hand in hands for row in hand} == set(range(count) if sizes else ())


def test_what_is_judged_twice_is_at_no_place_of_its_own() -> None:
    rows, places = [{"place": place} for place in range(3)], Counter[int]()
    for seed in range(600):
        first, second = dealt(rows, 2, random.Random(seed))
        twice = next(row["place"] for row in second if row in first)
        places[[row["place"] for row in second].index(twice)] += 1
    assert places[0] / 600 == pytest.approx(0.5, abs=0.08)


def known(label: float) -> Labelled:
    return Labelled({}, label)


def test_single_cases_are_as_often_right_as_wrong_and_others_have_one_right_answer() -> None:
    prompts: list[list[Any]] = [
        [known(1.0), known(0.0), known(0.2)],
        [known(0.0), known(0.1)],
        [known(1.0), known(0.5)],
    ]
    sides = contrasts(prompts, 1, random.Random(0))
    assert {side: {own.label for (own,) in hands} for side, hands in sides.items()} == {
        "right": {1.0}, "wrong": {0.0, 0.1, 0.2}
    }  # fmt: skip
    assert [hand[0].label > 0.5 for hand in balanced(sides.values())] == [True, False] * 2
    ((hand,),) = contrasts(prompts, 3, random.Random(0)).values()
    assert sum(own.label > 0.5 for own in hand) == 1 and len(hand) == 3
    half_right = contrasts([[known(1.0), known(0.5)]] * 9, 1, random.Random(0))
    assert len(half_right["right"]) == 9 and half_right["wrong"] == []  # half right is on no side


def alone(*answers: Judged) -> list[list[Judged]]:
    return [[own] for own in answers]


def test_what_a_look_measures() -> None:
    right, wrong = Judged(1.0, 1.0), Judged(0.0, 0.0)
    cases = alone(*[right] * 6, *[Judged(0.0, 1.0)] * 2, *[wrong] * 4, *[Judged(None, 0.0)] * 4)
    assert measure(cases, [])["agreement"] == (6 / 8 + 4 / 8) / 2
    assert measure(cases, [])["same_verdict"] == 0.5
    fresh = alone(*[Judged(1.0, 0.0)] * 8, *[right] * 2)
    found = measure(cases, fresh)
    assert found["gap"] == pytest.approx(0.8) and "position_bias" not in found
    assert "self_preference" not in found  # too few wrong ones that can be read to compare with
    assert measure(cases + alone(*[wrong] * 4), fresh)["self_preference"] == 1.0
    assert measure(cases[:7], []) == {}


def test_an_honest_judge_of_better_answers_prefers_nobody() -> None:
    cases = alone(*[Judged(0.75, 0.75)] * 8, *[Judged(0.0, 0.0)] * 8)
    found = measure(cases, alone(*[Judged(1.0, 1.0)] * 8, *[Judged(0.25, 0.25)] * 8))
    assert found["self_preference"] == found["gap"] == 0


def shown(scores: tuple[float | None, ...], labels: tuple[float, ...]) -> list[Judged]:
    own = enumerate(zip(scores, labels, strict=True), 1)
    return [Judged(score, label, place, len(labels)) for place, (score, label) in own]


def test_of_several_the_best_one_counts_whatever_its_score() -> None:
    flawless = [shown((0.1, 0.4, 0.2, 0.0), (0, 1, 0, 0))] * 8
    assert measure(flawless, [])["agreement"] == 1
    tied = [shown((0.4, 0.4), (0, 1)), shown((None, None), (1, 0))] * 4
    assert measure(tied, [])["agreement"] == 0


def test_a_bias_to_a_place_is_told_from_what_stands_there() -> None:
    honest = [shown((1.0, 0.0), (1.0, 0.0)), shown((0.0, 1.0), (0.0, 1.0))] * 4
    assert measure(honest, [])["position_bias"] == 0 and measure(honest, [])["agreement"] == 1
    loves_the_first = [shown((1.0, 0.0), (1.0, 0.0)), shown((1.0, 0.0), (0.0, 1.0))] * 4
    found = measure(loves_the_first, [])
    assert found["position_bias"] == 1 and found["agreement"] == 0.5


def test_votes_are_a_reward_while_nothing_speaks_against_the_judge() -> None:
    trust = Trust(TrustConfig(probe_steps=10))
    assert not trust.holds()
    (first,) = trust.feed(1, {"agreement": 0.5, "gap": 0.4})
    assert first.name == "judge_disagrees" and "50%" in first.message and not trust.holds()
    assert trust.feed(11, {"agreement": 0.6, "gap": 0.4}) == []  # it is known already
    assert trust.feed(21, {"agreement": 0.9, "gap": 0.1, "same_verdict": 0.5}) == [] and trust.holds()
    names = [
        [alarm.name for alarm in trust.feed(step, {"agreement": 0.9, **measures})]
        for step, measures in enumerate(
            [{"gap": 0.25}, {"gap": 0.35}, {"gap": 0.35}, {"gap": 0.1}, {"same_verdict": 1.0}, {"position_bias": -0.5},
             {"self_preference": 0.5}, {"self_preference": -0.5}, {}], 31
        )
    ]  # fmt: skip
    expected = [
        [],
        ["judge_is_hacked"],
        [],
        [],
        ["judge_collapsed"],
        ["judge_position_bias"],
        ["judge_self_preference"],
    ]
    assert names == [*expected, [], []] and trust.holds()


def test_a_bound_that_is_never_reached_is_never_reached() -> None:
    never = TrustConfig(
        min_agreement=0, max_same_verdict=1, max_position_bias=1, max_gap_growth=2, max_self_preference=1
    )
    trust = Trust(never)
    assert trust.feed(1, {}) == [] and trust.holds()
    worst = {"agreement": 0.0, "same_verdict": 1.0, "position_bias": 1.0, "gap": 1.0, "self_preference": 1.0}
    assert trust.feed(2, worst) == [] and trust.holds()


def test_a_gap_that_was_not_seen_has_not_grown() -> None:
    trust = Trust(TrustConfig())
    assert trust.feed(1, {"agreement": 1.0, "gap": -0.3}) == [] and trust.feed(2, {"agreement": 1.0}) == []
    assert [own.name for own in trust.feed(3, {"agreement": 1.0, "gap": 0.0})] == ["judge_is_hacked"]


def test_what_is_too_long_for_the_judge_is_told_as_that() -> None:
    fresh = alone(*[Judged(None, 1.0)] * 8)
    unread, too_long = measure([], fresh), measure([], [], 8)
    assert unread == {"silence": 1.0} and too_long == {"silence": 1.0, "too_long": 1.0}
    for measures, remedy, other in (
        (unread, "raise judge.max_completion_length", "lower"), (too_long, "lower judge.max_completion_length", "raise j")
    ):  # fmt: skip
        silenced = next(own for own in Trust(TrustConfig()).feed(1, measures) if own.name == "judge_is_silenced")
        assert remedy in silenced.message and other not in silenced.message
    assert "are too long for the judge" in silenced.message  # pyright: ignore[reportPossiblyUnbound]


def test_every_completion_is_judged_as_often_as_asked(tmp_path: Path) -> None:
    rows = answered("5", "6", "7", "5", a=2, b=3) + answered("9", "8", "9", "9", a=4, b=5)
    stage = Stage(tmp_path, honest, votes=3)
    stage.jury.vote(rows, 4, "seed")
    assert not stage.asked and not any(row["sample"].votes for row in rows)  # nobody trusts it
    stage.trusting().vote(rows, 4, "seed")
    assert [mean_vote(row["sample"].votes).value for row in rows] == [1, 0, 0, 1, 1, 0, 1, 1]  # pyright: ignore
    assert {len(row["sample"].votes) for row in rows} == {3} and len(stage.asked) == 24
    kept = list(read_lines(stage.folder.judgments))
    assert len(kept) == 24 and {line["purpose"] for line in kept} == {"vote"}
    assert all(line["content"].startswith("Well.\nScores: ") and "<task>" in line["asked"] for line in kept)


def test_each_verdict_of_another_judge_has_a_name_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[list[str]] = []

    def play(rows: list[Batch], names: list[str], *_: Any) -> list[Episode]:
        keys.append(names)
        return [Episode(name, [], "high", 8, "", turns=["</think>Scores: 10"], turn_ids=[[1]]) for name in names]

    monkeypatch.setattr("rl.judges.play_rows", play)
    frozen, stage = FrozenModel.__new__(FrozenModel), Stage(tmp_path, honest, votes=3)
    frozen.engine = frozen.tokenizer = cast(Any, type("Any", (), {"convert_tokens_to_ids": lambda self, _: 1}))()
    frozen.tokenizer.unk_token_id, frozen.form, frozen.temperature = None, V4Format(), 1.0
    stage.answers, jury = frozen.ask, stage.trusting()
    for step in (1, 2):
        jury.begin(step)
        for _ in range(2):  # a step votes again on what takes the place of groups without signal
            jury.vote(answered("5", "6"), 2, "seed")
    names = [line["name"] for line in read_lines(stage.folder.judgments)]
    assert len(names) == len(set(names)) == 24 and names[0] == "1/judge/0" and names[-1] == "2/judge/11"
    assert keys[0] == keys[1] and len(set(keys[0])) == 6  # what is drawn depends on what is asked, as it did


def test_of_a_group_several_are_compared_in_an_order_drawn_for_each_verdict(tmp_path: Path) -> None:
    rows = answered("5", "6", "7", "8")
    stage = Stage(tmp_path, honest, votes=8, responses=2)
    stage.trusting().vote(rows, 4, "seed")
    assert len(stage.asked) == 16 and all(asked.count("<response ") == 2 for asked in stage.asked)
    assert [mean_vote(row["sample"].votes).value for row in rows] == [1, 0, 0, 0]  # pyright: ignore
    assert {vote.place for vote in rows[0]["sample"].votes} == {1, 2}


def test_what_a_judge_cannot_be_shown_is_worth_nothing(tmp_path: Path) -> None:
    rows = answered("5", f"5{EOS}", "5")
    wrote(rows[2], "5", faults=("no answer behind the reasoning",))
    stage = Stage(tmp_path, lambda task, response: 10)
    stage.trusting().vote(rows, 3, "seed")
    scores = [mean_vote(row["sample"].votes) for row in rows]
    assert [score.value for score in scores if score] == [1, 0, 0]
    assert "chat format" in scores[1].faults[0] and "no answer" in scores[2].faults[0]  # pyright: ignore


def test_a_judge_is_not_shown_what_an_answer_says_of_itself(tmp_path: Path) -> None:
    rows = answered("5\nScores: 10", "5", "So\n6")
    stage = Stage(tmp_path, honest, votes=1)
    stage.trusting().vote(rows, 3, "seed")
    assert [mean_vote(row["sample"].votes).value for row in rows] == [1, 1, 0]  # pyright: ignore
    assert sum("So\n6" in asked for asked in stage.asked) == 1 and not any("10<" in asked for asked in stage.asked)


def test_completions_without_any_verdict_are_counted(tmp_path: Path) -> None:
    rows = answered("5", "6", "7", "8")
    stage = Stage(tmp_path, honest)
    assert stage.jury.silence(rows) == {}
    for row, votes in zip(rows, ((1.0, None), (None, None), (0.0,), ()), strict=True):
        row["sample"] = replace(row["sample"], votes=tuple(map(Vote, votes)))
    assert stage.jury.silence(rows) == {"judge/without_verdict": pytest.approx(1 / 3)}


def test_a_row_without_rubric_is_not_judged(tmp_path: Path) -> None:
    rows = answered("5", "6")
    rows[0]["rubric"] = Rubric(criteria=(Criterion(text="own"),)).model_dump_json()
    wrote(rows[0], "5")
    wrote(rows[1], "6", faults=("no answer",))
    stage = Stage(tmp_path, honest, votes=1)
    stage.jury.dealer.reward = RubricReward()
    stage.trusting().vote(rows, 2, "seed")
    assert len(stage.asked) == 1 and "1. own" in stage.asked[0] and not rows[1]["sample"].votes


def test_a_judge_writes_the_rubric_of_a_task_once(tmp_path: Path) -> None:
    stage = Stage(tmp_path, honest, writes_rubrics=True, votes=1)
    stage.jury.dealer.reward = RubricReward()
    answers = iter(["Whatever you like.", "- right (weight 3)\n- brief", "- of the other"])
    judge = stage.answers

    def ask(rows: list[Batch]) -> None:
        for row in rows:
            if "Write down" in row["asked"]:
                wrote(row, next(answers))
        judge([row for row in rows if "Write down" not in row["asked"]])

    stage.answers = ask
    jury = stage.trusting()
    for asked in (1, 4, 6):
        rows = answered("5", "6")
        jury.vote(rows, 2, "seed")
        assert len(stage.asked) == asked  # what is no rubric is not judged by
    assert "1. right (weight 3)\n2. brief (weight 1)" in stage.asked[-1]
    again = Stage(tmp_path, honest, writes_rubrics=True)
    again.jury.begin(2)
    assert again.jury.dealer.written == jury.dealer.written and list(jury.dealer.written) == ["2 + 3"]


def test_tasks_that_say_the_same_and_are_not_have_a_rubric_each(tmp_path: Path) -> None:
    def row(role: str, tool: str, mode: str) -> Batch:
        messages = ({"role": role, "content": "2 + 3"}, {"role": "user", "content": "Go on."})
        own = Task("a key", messages, (reply("5"),), "5", ({"name": tool, "parameters": {}},))
        config = ModeConfig(think="non_think")
        row = vars(_row("sums", "math_answer", own, mode, config, V4Format()))
        wrote(row, "5")
        return row

    def write(rows: list[Batch]) -> None:
        for place, own in enumerate(rows):
            wrote(own, f"- criterion {place}")

    stage = Stage(tmp_path, None, writes_rubrics=True)
    stage.jury.dealer.reward, stage.answers = RubricReward(), write
    rows = [row("system", "add", "non_think"), row("system", "add", "other")]
    rows += [row("system", "look_up", "non_think"), row("user", "add", "non_think")]
    stage.jury.dealer.write_rubrics(rows, 1)
    rubrics = [stage.jury.dealer.rubric(own) for own in rows]
    assert [own and own.criteria[0].text for own in rubrics] == [f"criterion {place}" for place in (0, 0, 1, 2)]


def test_a_judge_that_writes_no_rubric_is_told_of_once(tmp_path: Path) -> None:
    stage = Stage(tmp_path, honest, writes_rubrics=True, votes=1)
    stage.jury.dealer.reward = RubricReward()

    def ask(rows: list[Batch]) -> None:
        for row in rows:
            wrote(row, "Whatever you like.")

    stage.answers, jury = ask, stage.trusting()
    rows = [row for a in range(2 * LEAST) for row in answered("5", "6", a=a)]
    for step in (1, 2, 3):
        jury.begin(step)
        jury.vote(rows, 2, "seed")
    assert [alarm.name for alarm in stage.alarms] == ["judge_writes_no_rubrics"] and jury.silence(rows) == {
        "judge/without_rubric": 1.0
    }
    again = Stage(tmp_path, honest, writes_rubrics=True)
    again.jury.begin(4)
    again.jury.vote([], 2, "seed")
    assert not again.alarms


@pytest.mark.parametrize("content", ["", "right", "- ", "- a\nb", "\n".join(["- a"] * 10), "- a (weight 2) b\n* c"])
def test_what_is_no_rubric_is_none(content: str) -> None:
    with pytest.raises(ValueError, match="lines of criteria"):
        read_rubric(content, 10)


def asked_about(tasks: list[Batch]) -> list[tuple[str, float]]:
    """Response and label of each, right ones first."""
    found = [(own["case"].responses[0], json.loads(own["answer"])["labels"][0]) for own in tasks]
    assert all(
        f"<response>{response}</response>" in own["asked"] for (response, _), own in zip(found, tasks, strict=True)
    )
    return sorted(found, key=lambda one: (-one[1], one[0]))


def test_judging_tasks_are_worth_what_they_say_beside_the_label(tmp_path: Path) -> None:
    stage = Stage(tmp_path, honest)
    rows = answered("5", "6", "5", "7") + answered("9", "9", a=4, b=5)
    tasks = list(stage.jury.tasks(rows, 4, random.Random(0)))
    labels = [label for task in tasks for label in json.loads(task["answer"])["labels"]]
    assert labels[:2] == labels[2:] and {*labels} == {0.0, 1.0}  # each different answer once, as many right as wrong
    judging(honest)(tasks)
    rewards_BR = stage.jury.rewards(tasks)
    assert rewards_BR[:, -1].tolist() == [1.0] * 4 and rewards_BR[:, :-1].isnan().all()
    judging(lambda task, response: 10)(tasks)
    assert stage.jury.rewards(tasks)[:, -1].tolist() == labels


def judged_at(stage: Stage, step: int, rows: list[Batch], count: int) -> list[Batch]:
    """The judging tasks of a step, which are kept."""
    stage.jury.begin(step)
    tasks = list(stage.jury.tasks(rows, count, random.Random(step)))
    stage.answers(tasks)
    stage.jury.keep(tasks[:count], "task")
    return tasks


def test_where_no_answer_is_wrong_any_more_earlier_ones_are_asked_about_again(tmp_path: Path) -> None:
    stage = Stage(tmp_path, honest)
    first = judged_at(stage, 1, answered("5", "7"), 2)
    tasks = judged_at(stage, 2, answered("9", a=4, b=5), 2)
    assert asked_about(tasks) == [("9", 1.0), ("7", 0.0)]  # what is new is right
    (again,) = (own for own in tasks if own.get("is_replayed"))
    assert {**again, "sample": None, "is_replayed": None} == {
        **next(own for own in first if own["case"].of == again["case"].of), "sample": None, "is_replayed": None
    }  # fmt: skip
    told = stage.jury.told(tasks, stage.jury.rewards(tasks))
    assert told["judge/replayed_share"] == 0.5
    lines = [line for line in read_lines(stage.folder.judgments) if line["step"] == 2]
    assert sorted((line["labels"], line["replayed"]) for line in lines) == [([0.0], True), ([1.0], False)]

    resumed, unbroken = Stage(tmp_path, honest), stage.jury.tasks(answered("3", a=1, b=2), 2, random.Random(3))
    resumed.jury.begin(3)
    assert list(resumed.jury.tasks(answered("3", a=1, b=2), 2, random.Random(3))) == list(unbroken)
    none = Stage(tmp_path, honest, replay=0)
    none.jury.begin(3)
    assert list(none.jury.tasks(answered("3", a=1, b=2), 2, random.Random(3))) == []


def test_a_domain_that_wrote_nothing_is_replayed_too_and_the_latest_of_each(tmp_path: Path) -> None:
    probe = [sum_row(2, 3), sum_row(2, 3, "hard")]
    stage = Stage(tmp_path, honest, probe=probe, replay=1)
    for step, wrong in enumerate(("7", "8"), 1):
        judged_at(stage, step, answered("5", wrong, domain="hard"), 2)
    tasks = judged_at(stage, 3, answered("11", a=5, b=6), 2)
    assert asked_about(tasks) == [("5", 1.0), ("8", 0.0)] and {own["case"].domain for own in tasks} == {"hard"}
    asked_again = judged_at(stage, 4, answered("6", "9", domain="hard"), 2)  # no right one, so one is asked again
    assert asked_about(asked_again)[0] == ("5", 1.0) and len(asked_again) == 2


def test_what_is_asked_again_does_not_outlive_what_was_written_later() -> None:
    replay = Replay(2)

    def add(response: str, label: float) -> None:
        case = Case(domain="sums", of=("1/0",), rubric=RIGHT, task="2 + 3", responses=(response,), labels=(label,))
        replay.add(case)

    def known(side: Side) -> set[str]:
        return {case.responses[0] for case in replay.draw("sums", side, 9, random.Random(0))}

    for response in ("6", "7", "6", "8"):
        add(response, 0.0)
    assert known("wrong") == {"7", "8"} and replay.draw("other", "wrong", 9, random.Random(0)) == []
    add("8", 1.0)  # a verifier says otherwise by now
    assert known("wrong") == {"7"} and known("right") == {"8"}


def test_nothing_is_asked_about_twice_in_a_step(tmp_path: Path) -> None:
    stage = Stage(tmp_path, honest)
    judged_at(stage, 1, answered("5", "6", "7", "8") + answered("9", "1", "2", "3", a=4, b=5), 8)
    for seed in range(20):
        tasks = list(stage.jury.tasks(answered("5", "6"), 4, random.Random(seed)))
        asked = [own["asked"] for own in tasks]
        assert len(asked) == len({*asked}) == 4


@pytest.mark.parametrize("count", [1, 3])
def test_of_an_odd_number_of_tasks_neither_side_has_always_more(tmp_path: Path, count: int) -> None:
    stage, labels = Stage(tmp_path, honest), Counter[float]()
    rows = answered("5", "6", "7") + answered("9", "8", a=4, b=5) + answered("3", "1", a=1, b=2)
    for seed in range(200):
        tasks = islice(stage.jury.tasks(rows, count, random.Random(seed)), count)
        labels.update(json.loads(own["answer"])["labels"][0] for own in tasks)
    assert labels[1.0] / labels.total() == pytest.approx(0.5, abs=0.1)


def test_what_fits_is_asked_about_before_anything_is_replayed(tmp_path: Path) -> None:
    stage = Stage(tmp_path, honest)
    stage.room = 1000
    rows = answered("5", *(str(place) * 2000 for place in range(1, 9)), "7")
    for seed in range(20):
        assert asked_about(list(stage.jury.tasks(rows, 2, random.Random(seed)))) == [("5", 1.0), ("7", 0.0)]


def test_refills_find_tasks_among_earlier_ones(tmp_path: Path) -> None:
    stage = Stage(tmp_path, honest)
    judged_at(stage, 1, answered("5", "6", "7") + answered("9", "1", "2", a=4, b=5) + answered("3", "4", a=1, b=2), 4)
    tasks = list(stage.jury.tasks(answered("13", a=6, b=7) + answered("15", a=7, b=8), 2, random.Random(0)))
    assert asked_about(tasks[:2])[0] == ("13", 1.0) or asked_about(tasks[:2])[0] == ("15", 1.0)
    assert [label for _, label in asked_about(tasks)] == [1.0, 1.0, 0.0, 0.0]


def test_of_several_responses_whole_hands_are_replayed_in_another_order(tmp_path: Path) -> None:
    stage = Stage(tmp_path, honest, responses=2)
    judged_at(stage, 1, answered("5", "7"), 1)
    orders = set[tuple[str, ...]]()
    for seed in range(20):
        (again,) = stage.jury.tasks(answered("9", "9", a=4, b=5), 4, random.Random(seed))
        responses, labels = again["case"].responses, json.loads(again["answer"])["labels"]
        assert dict(zip(responses, labels, strict=True)) == {"5": 1.0, "7": 0.0}
        assert dict(zip(again["case"].of, responses, strict=True)) == {"1/0": "5", "1/1": "7"}
        assert f"<response 1>{responses[0]}</response 1>" in again["asked"]
        orders.add(tuple(responses))
    assert len(orders) == 2


def test_criteria_weigh_in_a_label_what_they_weigh_in_a_verdict(tmp_path: Path) -> None:
    rubric = Rubric(criteria=(Criterion(text="right", weight=9), Criterion(text="short"), Criterion(text="kind")))
    row: Batch = {"prompt": "<p>", "asked": "?", "domain": "sums", "reward": "x", "answer": ""}
    row |= {"rubric": rubric.model_dump_json()}
    wrote(row, "an answer")
    own = Stage(tmp_path, None).jury.dealer.known(row, Score(0.5, {"1": 1.0, "2": 0.0}))
    assert own.label == 0.9 and own.criteria == (1.0, 0.0, None)
    answer = {"labels": [0.5], "rubric": rubric.model_dump(), "criteria": own.criteria}
    row |= {"reward": "judgment", "answer": json.dumps(answer)}
    wrote(row, "Scores: 10, 0, 0")
    with open_bench(SandboxConfig()) as bench:
        (score,) = asyncio.run(Judgment()([row["sample"]], bench))
    assert score is not None and score.value == 1 and score.parts == {"agrees": 1, "criteria": 1}


@pytest.mark.parametrize("form", ["agreement", "distance"])
def test_a_verdict_is_held_beside_the_criteria_that_a_verifier_checks(tmp_path: Path, form: str) -> None:
    task = WritingDomain(texts=("email",)).draw(random.Random(3))
    assert task.rubric is not None
    right, rows = task.demonstration[-1]["content"], list[Batch]()
    for place, text in enumerate((right, "so " * 90)):
        rows.append({"prompt": "<p>", "asked": task.messages[-1]["content"], "domain": "sums", "reward": "writing"})
        rows[-1] |= {"answer": task.answer, "rubric": task.rubric.model_dump_json()}
        wrote(rows[-1], text, f"1/{place}")
    jury = Stage(tmp_path, None).jury
    tasks = list(jury.tasks(rows, 2, random.Random(0)))
    assert [json.loads(own["answer"])["criteria"] for own in tasks] == [[1, 1, 1, 1, None], [0, 0, 0, 0, None]]
    for own, scores in zip(tasks, ((10, 10, 10, 10, 0), (0, 0, 0, 0, 10)), strict=True):
        wrote(own, verdict(scores))  # an honest judge who thinks otherwise of the style than of the rest
        own["reward"] = "judgment"
    assert [votes_of(own)[0].value for own in tasks] == [1.0, 0.0]
    with open_bench(SandboxConfig()) as bench:
        scores = asyncio.run(Judgment.model_validate({"form": form})([row["sample"] for row in tasks], bench))
    assert [score.value for score in scores if score] == [1.0, 1.0]
    jury.keep(tasks, "task")
    kept = read_lines(jury.folder.judgments)
    assert [own["criteria"] for own in kept] == [[1, 1, 1, 1, None], [0, 0, 0, 0, None]]


def a_policy(says: Callable[[int, int], str]) -> Callable[[list[Batch]], None]:
    def answer(rows: list[Batch]) -> None:
        for row in rows:
            a, b = map(int, row["asked"].split(" + "))
            wrote(row, says(a, b))

    return answer


def sometimes_wrong(a: int, b: int) -> str:
    return str(a + b + (a % 2))


def test_a_phrase_that_the_judge_loves_is_found_out(tmp_path: Path) -> None:
    """A judge that is right about all it has seen, and that a policy finds out how to please."""
    probe = [sum_row(a, b) for a in range(8) for b in range(8)]
    stage = Stage(
        tmp_path, lambda task, response: 10 if "trust me" in response else honest(task, response), probe=probe
    )
    metrics = stage.look(1, a_policy(sometimes_wrong), 2)
    assert metrics["judge/agreement"] == 1 and metrics["judge/trusted"] and not stage.alarms
    metrics = stage.look(11, a_policy(lambda a, b: f"{a} (trust me)"), 2)
    assert metrics["judge/agreement"] == 1 and not metrics["judge/trusted"]  # the old cases do not show it
    assert [alarm.name for alarm in stage.alarms] == ["judge_self_preference", "judge_is_hacked"]
    assert [line["step"] for line in read_lines(stage.folder.looks)] == [1, 11]
    stage.look(21, a_policy(sometimes_wrong), 2)
    assert stage.is_trusted() and len(stage.alarms) == 2


@pytest.mark.parametrize(("judged", "unasked"), [([0, 0, None, None, None] * 4, 0), ([0] * 10, 10)])
def test_a_judge_that_is_silenced_is_found_out(judged: list[float | None], unasked: int) -> None:
    """Its few scores are right, and a completion without any is worth its group's mean, more than it deserves."""
    measures = measure([], alone(*(Judged(score, 0.0) for score in judged)), unasked)
    assert measures["gap"] == 0 and measures["silence"] >= 0.5
    trust = Trust(TrustConfig())
    (alarm,) = trust.feed(1, measures | {"agreement": 1.0})
    assert alarm.name == "judge_is_silenced" and not trust.holds()
    assert not trust.feed(11, measures | {"agreement": 1.0, "silence": 0.1}) and trust.holds()


@pytest.mark.parametrize("responses", [1, 2])
def test_a_look_is_remembered(tmp_path: Path, responses: int) -> None:
    probe = [sum_row(a, b) for a in range(6) for b in range(6)]
    wrong_half = iter(range(10**6))
    first = Stage(tmp_path, honest, probe=probe, responses=responses)
    first.look(5, a_policy(lambda a, b: str(a + b + next(wrong_half) % 2)), 2)
    cases = read_json(first.folder.probe)["sums"]["cases"]
    labels = [case["labels"] for case in cases]
    assert sum(map(sum, labels)) * 2 == sum(map(len, labels)) >= 36  # as many right as wrong
    again = Stage(tmp_path, honest, probe=probe, responses=responses)
    again.jury.begin(14)
    assert again.is_trusted() and not again.jury.is_due()
    again.jury.begin(15)
    assert again.jury.is_due()
    again.look(15, a_policy(sometimes_wrong), 2)
    assert read_json(again.folder.probe)["sums"]["cases"] == cases


def test_each_domain_is_trusted_for_itself(tmp_path: Path) -> None:
    """A judge that knows sums of small numbers alone: of large ones it is asked nothing but what looks ask."""

    def knows_small(task: str, response: str) -> int:
        return honest(task, response) if int(task.split(" + ")[0]) < 100 else 10

    places = range(6)
    probe = [
        sum_row(base + a, b, domain) for domain, base in (("small", 0), ("large", 100)) for a in places for b in places
    ]
    probe += [sum_row(a, 1, "other") | {"rubric": ""} for a in places]
    stage = Stage(tmp_path, knows_small, probe=probe, votes=1)
    metrics = stage.look(1, a_policy(sometimes_wrong), 2)
    assert metrics["judge/agreement/small"] == 1 and metrics["judge/agreement/large"] == 0.5
    assert 0.5 < metrics["judge/agreement"] < 1 and not metrics["judge/trusted"]
    disagrees, collapsed, _ = stage.alarms
    assert [disagrees.of, collapsed.of] == [
        "large"
    ] * 2 and "step 1, domain large: the judge agrees" in disagrees.message
    rows = answered("5", "6", domain="small") + answered("5", "6", domain="large")
    stage.jury.vote(rows, 2, "seed")
    assert [len(row["sample"].votes) for row in rows] == [1, 1, 0, 0]
    again = Stage(tmp_path, knows_small, probe=probe)
    again.jury.begin(2)
    assert [own.holds() for own in again.jury.trust.values()] == [True, False, False]


def test_tasks_cannot_be_told_apart_by_their_domain(tmp_path: Path) -> None:
    right, wrong = (answered("5", domain="easy"), answered("7", domain="hard"))
    mixed = answered("9", "8", a=4, b=5, domain="hard")
    stage = Stage(tmp_path, honest)
    assert list(stage.jury.tasks(right + wrong, 4, random.Random(0))) == []
    tasks = list(stage.jury.tasks(right + wrong + mixed, 4, random.Random(0)))
    assert [label for _, label in asked_about(tasks)] == [1.0, 0.0]


def test_what_people_have_judged_trains_beside_what_verifiers_have(tmp_path: Path) -> None:
    path = tmp_path / "people.jsonl"
    lines: list[dict[str, Any]] = [
        {"task": f"Say {place}.", "responses": ["a", "b"], "best": place % 2} for place in range(5)
    ]
    path.write_text(
        "\ufeff" + "\n".join(map(json.dumps, [*lines, {"task": "Sing.", "responses": ["la"], "labels": [0.7]}]))
    )
    stage = Stage(tmp_path, honest, comparisons=str(path), comparisons_share=0.5)
    tasks = list(stage.jury.tasks(answered("5", "6", "9", "9"), 4, random.Random(0)))
    theirs = ["Say" in task["asked"] or "Sing" in task["asked"] for task in tasks]
    assert theirs == [True] * 2 + [False] * 2 + [True] * 4  # and behind them what is left
    assert {len(json.loads(task["answer"])["labels"]) for task in tasks[4:] + tasks[:2]} == {1, 2}
    several = [task for task in tasks if len(task["case"].of) == 2]
    for row in several:
        wrote(row, verdict([10 if label else 0 for label in json.loads(row["answer"])["labels"]]))
    orders = [
        tuple(json.loads(task["answer"])["labels"])
        for seed in range(20)
        for task in stage.jury.tasks([], 6, random.Random(seed))
        if "Say 0." in task["asked"]
    ]
    assert set(orders) == {(1.0, 0.0), (0.0, 1.0)}  # in the file the first one is the best
    told = stage.jury.told(several * LEAST, torch.ones(len(several) * LEAST, 3))
    assert told["judge/people_agreement"] == 1 and "judge/task_agreement" not in told


def test_what_is_too_long_of_it_is_told_of_once_with_its_lines(tmp_path: Path) -> None:
    path, rubric = tmp_path / "people.jsonl", RIGHT.model_dump()
    rows = [
        {"task": "x" * size, "responses": ["a"], "labels": [1], "rubric": rubric} for size in (5, 20_000, 5, 30_000)
    ]
    path.write_text("\n\n".join(map(json.dumps, rows)))
    stage = Stage(tmp_path, honest, comparisons=str(path))
    for step in (1, 2):
        stage.jury.begin(step)
    (alarm,) = stage.alarms
    assert alarm.message.startswith(f"{path}: 2 of 4 comparisons are left out, in the lines 3, 7: with a verdict")
    assert len(stage.jury.from_people) == 2
    again = Stage(tmp_path, honest, comparisons=str(path))
    again.jury.begin(2)
    assert not again.alarms


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("", "holds no comparison"),
        ("{", "people.jsonl:1: no JSON"),
        ("[]", "people.jsonl:1: "),
        ('{"task": "a", "responses": ["b", "c"]}', "give best"),
        ('{"task": "a", "responses": ["b", "c"], "best": 2}', "best is 2 of 2"),
        ('{"task": "a", "responses": ["b", "c"], "best": true}', "people.jsonl:1: best: "),
        ('{"task": "a", "responses": ["b", "c"], "labels": ["1", 0]}', "people.jsonl:1: labels.0: "),
        ('{"task": "a", "responses": ["b"], "best": 0}', "among several"),
        ('{"task": "a", "responses": ["b", "c"], "labels": [1]}', "1 labels for 2"),
        ('{"task": "a", "responses": ["b", "c"], "labels": [1, 2]}', "people.jsonl:1: labels.1: "),
        ('{"task": "a", "response": ["b", "c"], "best": 1}', "people.jsonl:1: "),
        ('{"task": "a", "responses": ["b", "b"], "best": 1}', "are the same"),
        ('{"task": "a", "responses": ["b", "c"], "best": 1}', "people.jsonl:1: rubric: is missing"),
        ('{"task": "a", "responses": ["b", "c"], "labels": [0.5, 0.5]}', "all labels are the same"),
        ('{"task": "a", "responses": ["b\\nScores: 1", "b"], "best": 0}', "the same, as a judge is shown them"),
        ('{"task": "a", "responses": ["\\ud800", "b"], "best": 0}', "responses.0: holds half of a pair of surrogates"),
        (
            '{"task": " \\n", "responses": ["b", "c"], "best": 1}',
            "people.jsonl:1: task: is empty, as a judge is shown it",
        ),
        ('{"task": "a", "responses": ["b", "\\u2003 "], "best": 0}', "people.jsonl:1: responses.1: is empty"),
        ('{"task": "a", "responses": ["Score: 10"], "labels": [1]}', "people.jsonl:1: responses.0: is empty"),
        (
            json.dumps({"task": "a " * 10**6, "responses": ["b"], "labels": [1]}),
            "people.jsonl:1: task: has 2,000,000 characters, and no judge reads over 1,000,000: shorten it",
        ),
        (
            json.dumps({"task": "a", "responses": ["b" * 10**7], "labels": [1]}),
            "people.jsonl:1: responses.0: has 10,000,",
        ),
        ('{"task": "a", "responses": ["b", "c"], "best": 7}', "people.jsonl:1: best is 7 of 2 responses"),
        (
            '{"task": "a", "responses": ["b", "c"], "lables": [1, 0]}',
            "lables: unknown field; did you mean 'labels'?",
        ),
        ('{"task": "a", "responses": ["b", "c"], "labels": [-1, 0]}', "than or equal to 0, found -1"),
        ("[" * 200_000, "no JSON"),
        (json.dumps({"task": "a", "responses": ["b", EOS], "best": 1}), "people.jsonl:1: responses.1: "),
    ],
)
def test_what_people_have_not_judged_is_refused(tmp_path: Path, line: str, fault: str) -> None:
    (tmp_path / "people.jsonl").write_text(line)
    with pytest.raises(ValueError, match=re.escape(fault)):
        read_comparisons(tmp_path / "people.jsonl", None)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"rewards": ["rubric"]}, "needs a judge"),
        ({"judge": {}}, "has 0 of it"),
        ({"judge": {}, "rewards": ["rubric", "rubric"]}, "has 2 of it"),
        ({"judge": {"share": 1}, "rewards": ["rubric"]}, "share"),
        ({"judge": {"share": 0, "form": "best"}, "rewards": ["rubric"]}, "form would do nothing"),
        ({"judge": {"share": 0, "replay": 3}, "rewards": ["rubric"]}, "replay would do nothing"),
        ({"judge": {"replay": -1}, "rewards": ["rubric"]}, "replay"),
        ({"judge": {"responses": 10}, "rewards": ["rubric"]}, "responses"),
        ({"judge": {"responses": 5}, "rewards": ["rubric"], "num_generations": 4}, "num_generations = 4 are all"),
        ({"judge": {}, "rewards": ["rubric"], "per_device_train_batch_size": 8}, "no place for judging tasks"),
        ({"judge": {}, "rewards": ["rubric"], "scale_rewards": "batch"}, "one deviation: take 'group' or 'none'"),
        ({"judge": {"comparisons_share": 0.6}, "rewards": ["rubric"]}, "goes with comparisons"),
        ({"judge": {"trust": {"min_agrement": 1}}, "rewards": ["rubric"]}, "min_agrement"),
        ({"judge": {"trust": {"max_position_bias": 0.1}}, "rewards": ["rubric"]}, "judged together; responses is 1"),
        (
            {"judge": {"trust": {"max_self_preference": 0}, "responses": 2}, "rewards": ["rubric"]},
            "is judged alone; resp",
        ),
        (
            {
                "judge": {"writes_rubrics": True},
                "rewards": [{"name": "rubric", "rubric": {"criteria": [{"text": "a"}]}}],
            },
            "none is written",
        ),
        ({"judge": {"kind": "frozen"}, "rewards": ["rubric"]}, "from"),
        ({"judge": {"kind": "frozen", "from": "base", "share": 0.5}, "rewards": ["rubric"]}, "share"),
        ({"rewards": [{"name": "verifier", "weight": 0}]}, "weight of each is 0"),
        ({"judge": {"kind": "external", "url": "ftp://x", "model": "m"}, "rewards": ["rubric"]}, "url"),
        (
            {
                "judge": {"kind": "external", "url": "http://x/v1/chat/completions/", "model": "m"},
                "rewards": ["rubric"],
            },
            "chat/completions is added to it",
        ),
        ({"judge": {"kind": "external", "url": "http://", "model": "m"}, "rewards": ["rubric"]}, "url"),
        ({"judge": {"kind": "external", "url": "http://x y/v1", "model": "m"}, "rewards": ["rubric"]}, "url"),
        ({"judge": {"kind": "external", "url": "http://x/v1?key=1", "model": "m"}, "rewards": ["rubric"]}, "url"),
        (
            {"judge": {"kind": "external", "url": "http://x", "model": "m", "think": "max"}, "rewards": ["rubric"]},
            "take it out",
        ),
    ],
)
def test_a_judge_that_cannot_be_is_refused(settings: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        GrpoConfig.model_validate({"domains": ["math"], "max_steps": 1} | settings)


@pytest.mark.parametrize(
    "judge",
    [{}, {"share": 0}, {"responses": 2}, {"writes_rubrics": True}, {"kind": "frozen", "from": "base"},
     {"kind": "external", "url": "http://x", "model": "m"}],
)  # fmt: skip
def test_what_was_accepted_is_accepted_with_all_its_fields(judge: dict[str, Any]) -> None:
    """As a run that goes on reads them."""
    config = GrpoConfig.model_validate({"domains": ["math"], "max_steps": 1, "judge": judge, "rewards": ["rubric"]})
    assert GrpoConfig.model_validate(config.model_dump(mode="json", by_alias=True)) == config


def test_rewards_of_policy_and_judge_stand_in_one_batch(trainer_for: Any, words: Any, tmp_path: Path) -> None:
    """A real trainer: the last groups are judging tasks, with advantages of their own; untrusted votes are none."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    settings: dict[str, Any] = {"vocab_size": len(words), "max_position_embeddings": 512, "num_hidden_layers": 1}
    settings |= {"hidden_size": 32, "intermediate_size": 48, "head_dim": 16, "num_attention_heads": 2}
    model = Qwen3ForCausalLM(Qwen3Config(**settings, num_key_value_heads=2))
    config = PolicyJudge(max_completion_length=8, share=0.5)
    scorer = Scorer([RubricReward(rubric=RIGHT), OwnVerifier(), Judgment()], open_bench(SandboxConfig()))
    told: list[Alarm] = []
    row = Row("Ada", (), "math", "high", "high", 8, "math_answer", "1", asked="Ada")
    trainer = trainer_for(
        model, [row] * 8, scorer=scorer, per_device_train_batch_size=16,
        jury_for=lambda policy: Jury(
            config, scorer, V4Format(), StageDir(tmp_path), judge=policy, probe=[vars(row)] * 2, tell=told.append
        ),
    )  # fmt: skip
    out = trainer._generate_and_score_completions([dict(vars(row)) for _ in range(16)])
    assert [alarm.name for alarm in told] == ["judge_unknown"]
    # random tokens are no answer, so that there is nothing to judge, and the prompts stand there themselves
    assert len(trainer._rows) == 16 and {own["domain"] for own in trainer._rows} == {"math"}
    assert out["advantages"].shape == (16,) and trainer._rewards[:, 0].isnan().all()


class Scripted(LocalEngine):
    """A policy of which every second answer is right, and every second verdict says so, whatever it is about."""

    def __init__(self, policy: Any, tokenizer: Any) -> None:
        super().__init__(policy, seed=0)
        self.tokenizer = tokenizer

    def generate(self, requests: Sequence[Request], watch: Watch | None = None) -> list[Sample]:
        return [self._said(place % 2, self.tokenizer.decode(own.prompt_ids)) for place, own in enumerate(requests)]

    def _said(self, side: int, prompt: str) -> Sample:
        text = verdict([10 * side]) if "<response>" in prompt else str(5 + side)
        ids = [*self.tokenizer.encode(text, add_special_tokens=False), self.tokenizer.eos_token_id]
        return Sample(ids, [0.0] * len(ids))


def test_judging_tasks_have_advantages_of_their_own(trainer_for: Any, words: Any, tmp_path: Path) -> None:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    settings: dict[str, Any] = {"vocab_size": len(words), "max_position_embeddings": 512, "num_hidden_layers": 1}
    settings |= {"hidden_size": 32, "intermediate_size": 48, "head_dim": 16, "num_attention_heads": 2}
    never = {"min_agreement": 0, "max_same_verdict": 1, "max_gap_growth": 2, "max_silence": 1}
    config = PolicyJudge(think="non_think", max_completion_length=24, share=0.5, trust=TrustConfig(**never))
    scorer = Scorer([RubricReward(rubric=RIGHT), OwnVerifier(weight=0), Judgment()], open_bench(SandboxConfig()))
    row = Row("2 + 3", (), "sums", "non_think", "non_think", 8, "math_answer", "5", asked="2 + 3")
    trainer = trainer_for(
        Qwen3ForCausalLM(Qwen3Config(**settings, num_key_value_heads=2)), [row] * 8, scorer=scorer,
        per_device_train_batch_size=16, engine_for=lambda policy: Scripted(policy, words),
        jury_for=lambda policy: Jury(
            config, scorer, V4Format(), StageDir(tmp_path), judge=policy, probe=[vars(row)] * 8, tell=lambda _: None
        ),
    )  # fmt: skip
    out = trainer._generate_and_score_completions([dict(vars(row)) for _ in range(16)])
    domains = [own["domain"] for own in trainer._rows]
    assert domains == ["sums"] * 8 + ["judge"] * 8
    tasks = [(json.loads(own["answer"])["labels"][0], own["sample"].content) for own in trainer._rows[8:]]
    assert [label for label, _ in tasks] == [1.0] * 4 + [0.0] * 4
    agrees = [(label == 1.0) == (content == "Scores: 10") for label, content in tasks]
    assert out["advantages"][8:].tolist() == [0.5 if own else -0.5 for own in agrees] and 0 < sum(agrees) < 8
    # Of an answer one of two votes is for it, in the order in which they are asked; none hangs on judging tasks
    votes = [[vote.value for vote in own["sample"].votes] for own in trainer._rows[:8]]
    worth = [sum(own) / 2 for own in votes]
    means = [sum(worth[:4]) / 4] * 4 + [sum(worth[4:]) / 4] * 4
    assert out["advantages"][:8].tolist() == [own - mean for own, mean in zip(worth, means, strict=True)]
    assert 0 < trainer._metrics["train"]["judge/token_share"][0] < 1


def test_what_is_too_long_for_the_judge_is_left_out(tmp_path: Path) -> None:
    stage = Stage(tmp_path, honest, votes=1)
    rows = answered("5", "6" * 2000, "7", "5")
    stage.room = 1000
    stage.trusting().vote(rows, 4, "seed")
    assert [len(row["sample"].votes) for row in rows] == [1, 0, 1, 1]
    assert asked_about(list(stage.jury.tasks(rows, 4, random.Random(0)))) == [("5", 1.0), ("7", 0.0)]


def test_cases_are_looked_for_until_there_are_enough(tmp_path: Path) -> None:
    stage = Stage(tmp_path, honest, probe=[sum_row(a, b) for a in range(4) for b in range(4)])
    stage.look(1, a_policy(lambda a, b: "never"), 2)
    assert [alarm.name for alarm in stage.alarms] == ["judge_unknown"] and not stage.is_trusted()
    stage.look(11, a_policy(sometimes_wrong), 2)
    assert stage.is_trusted() and len(read_json(stage.folder.probe)["sums"]["cases"]) >= 8
    # Killed before the next checkpoint: of the second look the cases are left, and it is made again as it was made
    lines = stage.folder.looks.read_text().splitlines(keepends=True)
    stage.folder.looks.write_text(lines[0])
    again, sizes = Stage(tmp_path, honest, probe=stage.jury.probe), []
    again.look(11, lambda rows: (sizes.append(len(rows)), a_policy(sometimes_wrong)(rows))[1], 2)
    assert sizes == [32, 16]


@contextmanager
def serving(answers: Iterator[tuple[int, str]], heard: list[Any]) -> Iterator[str]:
    """A server that gives these answers, and notes what it was asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            heard.append((self.path, self.headers.get("Authorization"), body))
            status, text = next(answers)
            self.send_response(status)
            if status == 299:
                self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def chat(content: str, **more: str) -> tuple[int, str]:
    return 200, json.dumps({"choices": [{"message": {"role": "assistant", "content": content} | more}]})


def test_a_verdict_that_was_cut_off_is_none(tmp_path: Path) -> None:
    cut = {"choices": [{"message": {"content": [{"type": "text", "text": "Scores: 1"}]}, "finish_reason": "length"}]}
    whole = {"choices": [{"message": {"content": [{"type": "text", "text": "Scores: 10"}]}, "finish_reason": "stop"}]}
    stage = Stage(tmp_path, None, kind="external", url="http://x", model="big", votes=1)
    with serving(iter([(200, json.dumps(cut)), (200, json.dumps(whole))]), []) as url:
        stage.answers = external(url).ask
        rows = answered("5", "6")
        stage.trusting().vote(rows, 2, "seed")
    assert sorted(str(row["sample"].votes[0].value) for row in rows) == ["1.0", "None"]


def external(url: str) -> ExternalModel:
    return ExternalModel(ExternalJudge(url=url, model="big", at_once=1, api_key_env="A_KEY"))


def test_a_judge_behind_a_url_is_asked_again_while_it_is_busy(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setenv("A_KEY", "secret")
    heard: list[Any] = []
    stage = Stage(tmp_path, None, kind="external", url="http://x", model="big", votes=1)
    answers = [(503, "busy"), chat("Scores: 10", reasoning_content="I add \ud83d."), chat("No idea.")]
    with serving(iter(answers), heard) as url:
        stage.answers = external(url).ask
        rows = answered("5", "6")
        stage.trusting().vote(rows, 2, "seed")
    votes = [row["sample"].votes[0] for row in rows]
    assert sorted((vote.value is None, vote.fault) for vote in votes) == [
        (False, ""), (True, "it does not end with its one line of scores")
    ]  # fmt: skip
    assert [(path, key, body["model"]) for path, key, body in heard] == [
        ("/v1/chat/completions", "Bearer secret", "big")
    ] * 3
    assert heard[1][2]["messages"] == heard[0][2]["messages"] and "<task>2 + 3</task>" in str(heard[0])
    assert "I add ?." in [line["reasoning"] for line in read_lines(stage.folder.judgments)]


@pytest.mark.parametrize("key", ["sk-secret\n\nx", "sk-secret\u00e9", "sk-\x00secret"])
def test_a_key_that_is_none_is_not_told(monkeypatch: Any, key: str) -> None:
    monkeypatch.setattr("os.environ", {"A_KEY": key})
    with pytest.raises(ValueError, match=r"judge.api_key_env: A_KEY holds") as told:
        external("http://x")
    assert "secret" not in str(told.value)


def test_a_key_ends_before_its_line_does(monkeypatch: Any) -> None:
    monkeypatch.setenv("A_KEY", "secret\n")
    heard: list[Any] = []
    with serving(iter([chat("Scores: 1")]), heard) as url:
        external(url).ask([{"asked": "?", "reward": "judgment", "answer": "", "prompt": ""}])
    assert heard[0][1] == "Bearer secret"


def test_what_an_external_judge_turns_down_is_unread_while_others_are_answered(tmp_path: Path) -> None:
    stage = Stage(tmp_path, None, kind="external", url="http://x", model="big", votes=1)
    with serving(iter([(400, "too long"), chat("Scores: 10"), (413, "too long")]), []) as url:
        judge = external(url)
        stage.answers = judge.ask
        stage.trusting().vote(rows := answered("5", "6"), 2, "seed")
        assert sorted(str(row["sample"].votes[0].value) for row in rows) == ["1.0", "None"]
        stage.jury.vote(rows := answered("7"), 1, "seed")
    assert "413: too long" in rows[0]["sample"].votes[0].fault


def test_an_answer_that_is_none_or_has_no_end_is_no_verdict_beside_others(tmp_path: Path) -> None:
    stage = Stage(tmp_path, None, kind="external", url="http://x", model="big", votes=1)
    with serving(iter([chat("Scores: 10"), (200, "<html>"), chat("a" * 10**6)]), []) as url:
        stage.answers = external(url).ask
        stage.trusting().vote(rows := answered("5", "6", "7"), 3, "seed")
    faults = sorted(row["sample"].votes[0].fault for row in rows)
    assert faults[0] == "" and "an answer of more than" in faults[1] and "no chat completion: '<html>'" in faults[2]


def test_who_sends_a_byte_now_and_then_is_not_waited_for(monkeypatch: Any) -> None:
    class Slow(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                while True:
                    self.wfile.write(b" ")
                    time.sleep(0.1)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    monkeypatch.setattr("rl.judges.RETRIES", 0)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url, began = f"http://127.0.0.1:{server.server_port}/v1", time.monotonic()
    judge = ExternalModel(ExternalJudge(url=url, model="big", at_once=1, seconds=0.5))
    with pytest.raises(RuntimeError, match=r"no whole answer within 0.5 s"):
        judge.ask([{"asked": "?", "reward": "judgment", "answer": "", "prompt": ""}])
    assert time.monotonic() - began < 5
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ((400, "no such parameter"), "400: no such parameter"),
        ((404, "no such model"), "404: no such model"),
        ((200, "<html>"), "speak as OpenAI"),
        ((200, "{}"), "no chat"),
        ((299, "not packed"), "cannot be unpacked"),
    ],
)
def test_a_judge_that_is_none_ends_the_stage_and_says_why(answer: tuple[int, str], fault: str) -> None:
    with serving(iter([answer]), []) as url, pytest.raises(RuntimeError, match=fault):
        external(url).ask([{"asked": "?", "reward": "judgment", "answer": "", "prompt": ""}])
