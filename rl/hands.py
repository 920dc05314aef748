"""What a judge is shown: completions of one prompt in a hand, by the rubric that applies to them."""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple, Protocol, TypeVar

from polymath.chat import Format
from polymath.completion import Completion
from polymath.data import judging_row
from polymath.domains.task import question
from polymath.judging import Rubric, Vote, by_weight, judge_prompt, read_rubric, read_votes, rubric_prompt, unreadable
from polymath.run_dir import StageDir, append_line, read_lines
from rewards import RubricReward
from rewards.score import Score
from rl.cases import Case, Side
from rl.judge_config import JudgeSettings

Batch = dict[str, Any]
T = TypeVar("T")
Ask = Callable[[list[Batch]], object]  # samples rows, and puts what was written into each as `sample`
RUBRIC_SCALE = 10  # of the rubrics that a judge writes itself
RUBRIC_TRIES = 3  # for one task


class Labelled(NamedTuple):
    """A completion's row, and what its verifier says: on the whole, and of each criterion that it can check."""

    row: Batch
    label: float
    criteria: tuple[float | None, ...] = ()


class Judge(Protocol):
    """Whoever is asked."""

    def ask(self, rows: list[Batch]) -> object:
        """Put a verdict into each row, as `sample`."""
        ...

    def fits(self, row: Batch) -> bool:
        """Whether there is room for a row's prompt and a whole verdict."""
        ...


class Hand(NamedTuple):
    """Completions that one verdict is about, and the row that asks for it."""

    shown: list[Batch]
    row: Batch

    def votes(self) -> list[Vote]:
        """What the judge has said of each of them."""
        return votes_of(self.row)


class Dealer:
    """Makes rows that ask a judge, and knows by which rubric."""

    def __init__(
        self, config: JudgeSettings, reward: RubricReward, form: Format, folder: StageDir, judge: Judge
    ) -> None:
        self.config, self.reward, self.form, self.folder, self.judge = config, reward, form, folder, judge
        self.tries: Counter[str] = Counter()  # at a task's rubric, by `Row.task`
        self.written: dict[str, Rubric] = {}  # by a judge, for tasks that came without one

    def remember(self) -> None:
        """The rubrics that were written before."""
        for line in read_lines(self.folder.rubrics):
            self.tries[line["task"]] += 1
            if line["rubric"]:
                self.written[line["task"]] = Rubric.model_validate(line["rubric"])

    def refused(self) -> tuple[int, float]:
        """How often a rubric was asked for, and the share of answers that were none."""
        tries = sum(self.tries.values())
        return tries, 1 - len(self.written) / tries if tries else 0.0

    def rubric(self, row: Batch) -> Rubric | None:
        """What a completion is judged by; None where nothing says so."""
        return self.reward.rubric_of(row["sample"]) or self.written.get(row["task"])

    def write_rubrics(self, rows: Sequence[Batch], step: int) -> None:
        """Have the judge write one for each task that has none; what is no rubric is asked for again, a few times."""
        if not self.config.writes_rubrics:
            return
        lacking = {row["task"]: row["asked"] for row in rows if self.rubric(row) is None}
        mode = self.config.mode()
        asked = {
            task: judging_row(rubric_prompt(text), "", mode, self.form)
            for task, text in lacking.items()
            if self.tries[task] < RUBRIC_TRIES
        }
        asked = {task: row for task, row in asked.items() if self.judge.fits(row)}
        if asked:
            self.judge.ask(list(asked.values()))
        for task, row in asked.items():
            self._take_rubric(task, row, step)

    def _take_rubric(self, task: str, row: Batch, step: int) -> None:
        own: Completion = row["sample"]
        line = {"step": step, "task": task, "asked": row["asked"], "reasoning": own.reasoning, "content": own.content}
        line |= {"rubric": None, "faults": []}
        self.tries[task] += 1
        try:
            self.written[task] = read_rubric("" if own.faults else own.content, RUBRIC_SCALE)
            line["rubric"] = self.written[task].model_dump()
        except ValueError as error:
            line["faults"] = [str(error)]
        append_line(self.folder.rubrics, line)

    def why_worthless(self, row: Batch) -> str:
        """Why a completion is worth nothing by any rubric, so that no judge is needed; '' where one is."""
        completion: Completion = row["sample"]
        if completion.faults:
            return completion.faults[0]
        try:
            self.form.conversation(question(completion.content), self.config.think, ())
        except ValueError:
            return "it holds a token of the chat format, and cannot be shown to a judge"
        return ""

    def can_be_judged(self, row: Batch) -> bool:
        """Whether a rubric applies to a completion that a judge can be shown."""
        return self.rubric(row) is not None and not self.why_worthless(row)

    def row(self, case: Case) -> Batch:
        """The row that asks about a case."""
        known = {"criteria": case.criteria} if case.criteria else {}
        answer = json.dumps({"labels": case.labels, "rubric": case.rubric.model_dump()} | known)
        asked = judge_prompt(case.rubric, case.task, case.responses)
        return judging_row(asked, answer, self.config.mode(), self.form) | {"case": case}

    def hand(self, shown: Sequence[Batch]) -> Hand:
        """What asks about completions of one prompt, in this order."""
        return Hand(list(shown), self.row(self._case(shown)))

    def labelled(self, shown: Sequence[Labelled]) -> Batch:
        """The row that asks about those whose worth is known, beside which the verdict is held."""
        case, criteria = self._case([own.row for own in shown]), shown[0].criteria if len(shown) == 1 else ()
        return self.row(case.model_copy(update={"labels": tuple(own.label for own in shown), "criteria": criteria}))

    def _case(self, shown: Sequence[Batch]) -> Case:
        samples: list[Completion] = [own["sample"] for own in shown]
        rubric = self.rubric(shown[0])
        assert rubric is not None
        return Case(
            domain=shown[0]["domain"],
            of=tuple(own.name for own in samples),
            rubric=rubric,
            task=shown[0]["asked"],
            responses=tuple(own.content for own in samples),
        )

    def known(self, row: Batch, score: Score) -> Labelled:
        """A completion with what its verifier says of it, from 0 to 1.

        Of a task's own rubric it may be known by criterion, each a part of the score: the rubric's weights count then.
        """
        rubric = self.rubric(row) if row["sample"].rubric else None
        places = [str(place) for place in range(1, 1 + len(rubric.criteria))] if rubric else []
        if rubric and score.parts and score.parts.keys() <= {*places}:
            criteria = tuple(map(score.parts.get, places))
            return Labelled(row, by_weight(criteria, rubric), criteria)
        return Labelled(row, min(max(score.value, 0.0), 1.0))


def votes_of(row: Batch) -> list[Vote]:
    """What the verdict in a judging row says of each response.

    One that breaks the format says nothing; one beside labels by criterion says what it says of these.
    """
    case, own = row["case"], row["sample"]
    if own.faults:
        return unreadable(own.faults[0], len(case.responses))
    return read_votes(own.content, len(case.responses), case.rubric, case.criteria)


def dealt(rows: Sequence[Batch], size: int, rng: random.Random) -> list[list[Batch]]:
    """Each row in a hand of so many, which rows and in which order drawn.

    Hands are as large as those that looks are about, so that some rows may be in two; where there are too few rows for
    one, all of them are a hand, but one alone has nothing to be compared with.
    """
    if len(rows) <= size:
        return [rng.sample(rows, len(rows))] if len(rows) >= min(size, 2) else []
    rows = rng.sample(rows, len(rows))
    hands = [rows[start : start + size] for start in range(0, len(rows), size)]
    lacking = rng.sample(rows[: len(rows) - len(hands[-1])], size - len(hands[-1]))
    return [*hands[:-1], rng.sample(hands[-1] + lacking, size)]


def balanced(piles: Iterable[Sequence[T]]) -> list[T]:
    """One of each pile in turn, until one of them has no more."""
    return [one for turn in zip(*piles, strict=False) for one in turn]


def in_turn(piles: Iterable[Sequence[T]], size: int) -> list[T]:
    """So many of each pile, then of each again, until all are taken."""
    turns = [[pile[start : start + size] for start in range(0, len(pile), size)] for pile in piles]
    return [one for turn in zip_longest(*turns, fillvalue=()) for some in turn for one in some]


def contrasts(
    prompts: Sequence[Sequence[Labelled]], responses: int, rng: random.Random
) -> dict[Side, list[list[Labelled]]]:
    """Of different answers to each prompt: right and wrong ones alone, or a right one among wrong ones.

    What is half right is on no side of the scale, and says nothing of a judge.
    """
    sides = [([own for own in a if own.label > 0.5], [own for own in a if own.label < 0.5]) for a in prompts]
    if responses == 1:
        right, wrong = ([[own] for side in sides for own in side[place]] for place in (0, 1))
        return {"right": rng.sample(right, len(right)), "wrong": rng.sample(wrong, len(wrong))}
    hands = [
        [rng.choice(right), *rng.sample(wrong, responses - 1)] for right, wrong in sides
        if right and len(wrong) >= responses - 1
    ]  # fmt: skip
    return {"several": [rng.sample(hand, responses) for hand in rng.sample(hands, len(hands))]}
