"""The judge at work: votes on what was sampled, judging tasks that train the policy, and looks at whether to trust it.

    votes       each completion that a rubric applies to, `votes` times, alone or with others of its group
    tasks       completions whose worth a verifier knows, as many right as wrong ones
    looks       the same about held-out prompts, in both orders, and about what the policy answers to these now

A judging task is a row like any other, and its verdict an episode: both are sampled by the engine of the policy, with
the same weights, and a group of verdicts on one case has advantages of its own. V4's report (section 5.1.1) has no
formula for this; what a verdict is worth is DeepSeek-GRM's or DeepSeekMath-V2's.
"""

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast

import torch

from polymath.alarms import Alarm
from polymath.chat import Format
from polymath.completion import Completion
from polymath.data import judging_row
from polymath.domains.task import question
from polymath.judging import Rubric, Vote, judge_prompt, read_rubric, read_votes, rubric_prompt, unreadable
from polymath.run_dir import StageDir, append_line, read_json, read_lines, write_json
from rewards import Judgment, RubricReward
from rewards.scorer import Scorer
from rl.comparisons import Comparison, read_comparisons
from rl.judge_config import JudgeSettings, PolicyJudge
from rl.trust import Judged, Trust, agreement, measure

Batch = dict[str, Any]
RUBRIC_SCALE = 10  # of the rubrics that a judge writes itself
Ask = Callable[[list[Batch]], object]  # samples rows, and puts what was written into each as `sample`


Labelled = tuple[Batch, float]  # a completion's row, and what its verifier says


class Hand(NamedTuple):
    """Completions that one verdict is about, and the row that asks for it."""

    shown: list[Batch]
    row: Batch


class Jury:
    """Asks the judge of one stage, and keeps all that it says in the stage's folder."""

    def __init__(
        self,
        config: JudgeSettings,
        scorer: Scorer,
        form: Format,
        folder: StageDir,
        *,
        ask: Ask,
        probe: Sequence[Batch],
        tell: Callable[[Alarm], None],
    ) -> None:
        self.config, self.scorer, self.bench, self.form, self.folder = config, scorer, scorer.bench, form, folder
        self.ask, self.probe, self.tell = ask, list(probe), tell
        (self.reward,) = (own for own in scorer.settings.values() if isinstance(own, RubricReward))
        self.from_people: list[Batch] = []
        self.share_from_people = 0.0
        if isinstance(config, PolicyJudge) and config.comparisons:
            self.share_from_people = config.comparisons_share
            self.from_people = [self._judged_by_people(own) for own in read_comparisons(config.comparisons)]
        self.step = 0
        lines = read_lines(folder.rubrics)  # of a run that is gone on with, as below
        self.written = {line["task"]: Rubric.model_validate(line["rubric"]) for line in lines}
        self.trust = Trust(config.trust)
        for line in read_lines(folder.looks):
            self.trust.feed(line["step"], line)

    def begin(self, step: int) -> None:
        """From now on it is about this step."""
        self.step = step

    def vote(self, rows: Sequence[Batch], size: int, seed: str) -> None:
        """Give each completion, in groups of `size`, its votes, where a rubric applies and the judge is trusted."""
        if not self.trust.holds():
            return
        self._write_rubrics(rows)
        rng = random.Random(seed)
        hands: list[Hand] = []
        for start in range(0, len(rows), size):
            group = rows[start : start + size]
            for row in group:
                _add_votes(row, [Vote(0.0, fault=fault) for fault in self._spoilt(row)])
            judgeable = [row for row in group if self._rubric(row) and not row["sample"].votes]
            for _ in range(self.config.votes):
                hands += [self._hand(shown) for shown in dealt(judgeable, self.config.responses, rng)]
        self._hear([hand.row for hand in hands], "vote")
        for hand in hands:
            for row, own in zip(hand.shown, self._votes(hand), strict=True):
                _add_votes(row, [own])

    def tasks(self, rows: Sequence[Batch], count: int, rng: random.Random) -> list[Batch]:
        """`count` judging tasks or fewer, and behind them what else there is: from people, and of completions.

        Of completions those whose worth a verifier knows; of single ones, right and wrong in turn.
        """
        own = [self._labelled(hand).row for hand in self._contrasts(rows, rng)]
        drawn = rng.sample(self.from_people, len(self.from_people))
        first = min(round(count * self.share_from_people), len(drawn))
        return [*drawn[:first], *own[: count - first], *drawn[first:], *own[count - first :]]

    def rewards(self, rows: Sequence[Batch]) -> torch.Tensor:
        """`[B, rewards]`: what verdicts are worth beside their labels, NaN in all other rewards."""
        settings = list(self.scorer.settings.values())
        judgment = settings[-1]
        assert isinstance(judgment, Judgment)
        scores = asyncio.run(judgment([row["sample"] for row in rows], self.bench))
        rewards_BR = torch.full((len(rows), len(settings)), torch.nan)
        rewards_BR[:, -1] = torch.tensor([score.value for score in scores if score is not None])
        return rewards_BR

    def keep(self, rows: Sequence[Batch], purpose: str) -> None:
        """Write down what the judge was asked and what it said, all of it, for people to read."""
        for row in rows:
            own: Completion = row["sample"]
            labels, rubric = _labels_of(row)
            votes = _read(own, len(row["of"]), rubric)
            line = {"step": self.step, "purpose": purpose, "name": own.name, "of": row["of"], "asked": row["asked"]}
            line |= {"reasoning": own.reasoning, "content": own.content, "labels": labels}
            faults = list(dict.fromkeys(vote.fault for vote in votes if vote.fault))
            append_line(self.folder.judgments, line | {"scores": [vote.value for vote in votes], "faults": faults})

    def is_due(self) -> bool:
        """Whether the judge is to be looked at before this step."""
        return self.trust.is_due(self.step)

    def look(self, answer: Ask, answers: int) -> dict[str, float]:
        """See whether to trust the judge from this step on; what it showed, as metrics.

        `answer` lets the policy answer the probe's prompts; its first ones, `answers` to each, stay for the stage.
        """
        cases, fresh = self._cases(answer, answers), [dict(row) for row in self.probe]
        answer(fresh)
        labelled = zip(fresh, self._labels(fresh), strict=True)
        new = [self._labelled([own]).row for own in labelled if self._can_be_judged(own[0])]
        self._hear([*cases, *new], "look")
        measures = measure(self.judged(cases), self.judged(new))
        append_line(self.folder.looks, {"step": self.step} | measures)
        for alarm in self.trust.feed(self.step, measures):
            self.tell(alarm)
        return {f"judge/{name}": value for name, value in measures.items()} | {"judge/trusted": self.trust.holds()}

    def _cases(self, answer: Ask, answers: int) -> list[Batch]:
        """What the judge is asked at every look; several responses in both orders."""
        if self.trust.looked_at is None:
            rows = [dict(row) for row in self.probe for _ in range(answers)]
            answer(rows)
            hands = self._contrasts(rows, random.Random(0))
            hands += [hand[::-1] for hand in hands if len(hand) > 1]
            write_json(self.folder.probe, [self._labelled(hand).row for hand in hands])
        return cast(list[Batch], read_json(self.folder.probe))

    def told(self, rows: Sequence[Batch], rewards_BR: torch.Tensor) -> dict[str, float]:
        """What judging tasks say of the judge, as metrics."""
        if not rows:
            return {}
        agrees = agreement(self.judged(rows))
        return {
            "judge/tokens": sum(row["sample"].tokens for row in rows) / len(rows),
            "judge/reward": rewards_BR[:, -1].mean().item(),
        } | ({} if agrees is None else {"judge/task_agreement": agrees})

    def judged(self, rows: Sequence[Batch]) -> list[Judged]:
        """What verdicts on labelled responses say."""
        found = []
        for row in rows:
            labels, rubric = _labels_of(row)
            votes = _read(row["sample"], len(labels), rubric)
            found += [
                Judged(vote.value, label, vote.place, len(labels)) for vote, label in zip(votes, labels, strict=True)
            ]
        return found

    def _hear(self, rows: list[Batch], purpose: str) -> None:
        if rows:
            self.ask(rows)
            self.keep(rows, purpose)

    def _write_rubrics(self, rows: Sequence[Batch]) -> None:
        """Have the judge write one for each task that has none; what is no rubric is asked for again next time."""
        if not self.config.writes_rubrics:
            return
        tasks = dict.fromkeys(row["asked"] for row in rows if self._rubric(row) is None)
        asked = [judging_row(rubric_prompt(task), "", self.config.mode(), self.form) for task in tasks]
        if asked:
            self.ask(asked)
        for task, row in zip(tasks, asked, strict=True):
            own: Completion = row["sample"]
            try:
                rubric = read_rubric("" if own.faults else own.content, RUBRIC_SCALE)
            except ValueError:
                continue
            self.written[task] = rubric
            line = {"step": self.step, "task": task, "rubric": rubric.model_dump(), "reasoning": own.reasoning}
            append_line(self.folder.rubrics, line)

    def _rubric(self, row: Batch) -> Rubric | None:
        """What a completion is judged by; None where nothing says so."""
        return self.reward.rubric_of(row["sample"]) or self.written.get(row["asked"])

    def _labels(self, rows: Sequence[Batch]) -> list[float]:
        """What verifiers say of completions, from 0 to 1."""
        scores = asyncio.run(self.bench.verify([row["sample"] for row in rows]))
        return [min(max(score.value, 0.0), 1.0) for score in scores]

    def _contrasts(self, rows: Sequence[Batch], rng: random.Random) -> list[list[Labelled]]:
        self._write_rubrics(rows)
        answers: defaultdict[str, dict[str, Labelled]] = defaultdict(dict)  # of each prompt, by what they say
        for row, label in zip(rows, self._labels(rows), strict=True):
            if self._can_be_judged(row):
                answers[row["prompt"]][row["sample"].content] = row, label
        return contrasts([list(own.values()) for own in answers.values()], self.config.responses, rng)

    def _labelled(self, hand: Sequence[Labelled]) -> Hand:
        return self._hand([row for row, _ in hand], [label for _, label in hand])

    def _votes(self, hand: Hand) -> list[Vote]:
        rubric = self._rubric(hand.shown[0])
        assert rubric is not None
        return _read(hand.row["sample"], len(hand.shown), rubric)

    def _judged_by_people(self, comparison: Comparison) -> Batch:
        rubric = comparison.rubric or self.reward.rubric
        if rubric is None:
            raise ValueError("judge.comparisons: a line without rubric goes by the reward's: give 'rubric' one")
        row = self._asking(rubric, comparison.task, comparison.responses, comparison.worth())
        return row | {"of": ["" for _ in comparison.responses]}

    def _hand(self, shown: list[Batch], labels: Sequence[float] = ()) -> Hand:
        """The row that asks about completions of one prompt, in this order."""
        rubric = self._rubric(shown[0])
        assert rubric is not None
        contents = [row["sample"].content for row in shown]
        row = self._asking(rubric, shown[0]["asked"], contents, labels)
        return Hand(shown, row | {"of": [own["sample"].name for own in shown]})

    def _asking(self, rubric: Rubric, task: str, responses: Sequence[str], labels: Sequence[float]) -> Batch:
        answer = json.dumps({"labels": list(labels), "rubric": rubric.model_dump()})
        return judging_row(judge_prompt(rubric, task, responses), answer, self.config.mode(), self.form)

    def _can_be_judged(self, row: Batch) -> bool:
        return self._rubric(row) is not None and not self._spoilt(row)

    def _spoilt(self, row: Batch) -> list[str]:
        """Why a completion that a rubric applies to is worth nothing, and needs no judge."""
        completion: Completion = row["sample"]
        if completion.faults or not self._rubric(row):
            return list(completion.faults[:1])
        try:
            self.form.conversation(question(completion.content), self.config.think, ())
        except ValueError:
            return ["it holds a token of the chat format, and cannot be shown to a judge"]
        return []


def dealt(rows: Sequence[Batch], most: int, rng: random.Random) -> Iterable[list[Batch]]:
    """Rows in hands of at most so many, as equal as can be, which rows and in which order drawn."""
    rows = rng.sample(list(rows), len(rows))
    hands = -(-len(rows) // most)
    return [rows[place::hands] for place in range(hands)]


def contrasts(prompts: Sequence[Sequence[Labelled]], responses: int, rng: random.Random) -> list[list[Labelled]]:
    """Of different answers to each prompt: single ones, right and wrong in turn, or a right one among wrong ones."""
    sides = [([own for own in a if own[1] > 0.5], [own for own in a if own[1] <= 0.5]) for a in prompts]
    if responses == 1:
        right, wrong = ([own for side in sides for own in side[place]] for place in (0, 1))
        pairs = zip(rng.sample(right, len(right)), rng.sample(wrong, len(wrong)), strict=False)
        return [[own] for pair in pairs for own in pair]
    hands = [
        [rng.choice(right), *rng.sample(wrong, responses - 1)] for right, wrong in sides
        if right and len(wrong) >= responses - 1
    ]  # fmt: skip
    return [rng.sample(hand, responses) for hand in rng.sample(hands, len(hands))]


def _read(verdict: Completion, count: int, rubric: Rubric) -> list[Vote]:
    """A verdict as votes; one that breaks the format says nothing."""
    return unreadable(verdict.faults[0], count) if verdict.faults else read_votes(verdict.content, count, rubric)


def _labels_of(row: Batch) -> tuple[list[float], Rubric]:
    """Of a judging row: what verifiers say of the responses, where they are asked, and what these are judged by."""
    answer = json.loads(row["answer"])
    return answer["labels"], Rubric.model_validate(answer["rubric"])


def _add_votes(row: Batch, votes: Sequence[Vote]) -> None:
    completion: Completion = row["sample"]
    row["sample"] = replace(completion, votes=(*completion.votes, *votes))
