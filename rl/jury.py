"""The judge at work: votes on what was sampled, judging tasks that train the policy, and looks at whether to trust it.

    votes       each completion that a rubric applies to, `votes` times, alone or with others of its group
    tasks       completions whose worth a verifier knows, as many right as wrong ones
    looks       the same about held-out prompts, in both orders, and about what the policy answers to these now

A judging task is a row like any other, and its verdict an episode: both are sampled by the engine of the policy, with
the same weights, and a group of verdicts on one case has advantages of its own. V4's report (section 5.1.1) has no
formula for this; what a verdict is worth is DeepSeek-GRM's or DeepSeekMath-V2's.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import cast

import torch

from polymath.alarms import Alarm
from polymath.chat import Format
from polymath.completion import Completion
from polymath.judging import Vote
from polymath.run_dir import StageDir, append_line, read_json, read_lines, write_json
from rewards import Judgment, RubricReward
from rewards.scorer import Scorer
from rl.cases import Case, Side
from rl.comparisons import read_comparisons
from rl.hands import Ask, Batch, Dealer, Hand, Judge, Labelled, balanced, contrasts, dealt, in_turn, votes_of
from rl.judge_config import JudgeSettings, PolicyJudge
from rl.replay import Replay
from rl.trust import LEAST, Judged, Trust, agreement, measure

LINES_TOLD = 10  # of those that cannot be used
MOST_REFUSED = 0.9  # of the rubrics that a judge is asked for


class Jury:
    """Asks the judge of one stage, and keeps all that it says in the stage's folder."""

    def __init__(
        self,
        config: JudgeSettings,
        scorer: Scorer,
        form: Format,
        folder: StageDir,
        *,
        judge: Judge,
        probe: Sequence[Batch],
        tell: Callable[[Alarm], None],
    ) -> None:
        self.config, self.scorer, self.folder = config, scorer, folder
        self.judge, self.tell = judge, tell
        (reward,) = (own for own in scorer.settings.values() if isinstance(own, RubricReward))
        self.dealer = Dealer(config, reward, form, folder, judge)
        judgments = [place for place, own in enumerate(scorer.settings.values()) if isinstance(own, Judgment)]
        self.column = judgments[-1] if config.groups(2) else None  # of the rewards: what judging tasks are worth
        self.seconds = 0.0  # that the judge took, since somebody has asked for it
        self.replay = Replay(config.replay if isinstance(config, PolicyJudge) else 0)
        self.comparisons = config.comparisons if isinstance(config, PolicyJudge) else None
        theirs = read_comparisons(self.comparisons, reward.rubric) if self.comparisons else {}
        self.from_people = {line: own for line, own in theirs.items() if judge.fits(self.dealer.row(own))}
        self.too_long = [line for line in theirs if line not in self.from_people]
        brings = [row for row in probe if row["rubric"] or reward.rubric or config.writes_rubrics]
        self.probe = brings or list(probe)  # in a domain without any rubric nothing is judged
        domains = list(dict.fromkeys(row["domain"] for row in self.probe))
        self.trust = {name: Trust(config.trust, config.remedy, name if domains[1:] else None) for name in domains}
        self.looked_at: int | None = None  # the step of the last look
        self.step = 0
        self.heard = 0  # verdicts of this step
        self._lacks_rubrics = False  # and somebody was told

    def begin(self, step: int) -> None:
        """From now on it is about this step."""
        if not self.step:  # what a run that is gone on with has left: lines behind its last checkpoint are gone by now
            self.dealer.remember()
            self._lacks_rubrics = self._no_rubrics()
            for line in read_lines(self.folder.looks):
                self.trust[line["domain"]].feed(line["step"], line)
                self.looked_at = line["step"]
            for line in read_lines(self.folder.judgments) if self.replay.size else ():
                if line["purpose"] == "task":
                    self._remember(Case.model_validate({key: line[key] for key in Case.model_fields}))
        if step == 1 and self.too_long:
            self._tell_of_long_comparisons(step)
        self.step, self.heard = step, 0

    def _tell_of_long_comparisons(self, step: int) -> None:
        count, lines = len(self.too_long), ", ".join(map(str, self.too_long[:LINES_TOLD]))
        self.tell(Alarm("judge_comparisons_too_long", step, None, count, 0, (
            f"{self.comparisons}: {count} of {count + len(self.from_people)} comparisons are left out, in the lines "
            f"{lines}{', ..' if count > LINES_TOLD else ''}: with a verdict behind them they are too long for the "
            "context: shorten task or responses, lower judge.max_completion_length, or raise vllm_max_model_length as "
            "far as the model goes"
        )))  # fmt: skip

    def vote(self, rows: Sequence[Batch], size: int, seed: str) -> None:
        """Give each completion, in groups of `size`, its votes, where a rubric applies and the judge is trusted."""
        self._tell_of_rubrics()
        trusted = {name for name, own in self.trust.items() if own.holds()}
        groups = [rows[start : start + size] for start in range(0, len(rows), size)]
        groups = [group for group in groups if group[0]["domain"] in trusted]
        self.dealer.write_rubrics([row for group in groups for row in group], self.step)
        rng = random.Random(seed)
        hands: list[Hand] = []
        for group in groups:
            group = [row for row in group if self.dealer.rubric(row)]
            for row in group:
                if why := self.dealer.why_worthless(row):
                    _add_vote(row, Vote(0.0, fault=why))
            judgeable = [row for row in group if not row["sample"].votes]
            for _ in range(self.config.votes):
                hands += [self.dealer.hand(shown) for shown in dealt(judgeable, self.config.responses, rng)]
        hands = [hand for hand in hands if self.judge.fits(hand.row)]
        self._hear([hand.row for hand in hands], "vote")
        for hand in hands:
            for row, own in zip(hand.shown, hand.votes(), strict=True):
                _add_vote(row, own)

    def tasks(self, rows: Sequence[Batch], count: int, rng: random.Random) -> Iterator[Batch]:
        """`count` judging tasks or fewer, and behind them what else there is: from people, and of completions.

        Of completions those whose worth a verifier knows, and where these are too few, what was asked before; of single
        ones, right and wrong in turn, in each domain: else they could be told apart by it.
        """
        found, none = self._contrasts(rows, rng), contrasts([], self.config.responses, rng)
        domains = dict.fromkeys((*found, *self.replay.domains()))
        piles = [balanced(self._enough(name, found.get(name, none), count, rng)) for name in domains]
        own = in_turn(piles, 2 if self.config.responses == 1 else 1)
        drawn = rng.sample(list(self.from_people.values()), len(self.from_people))
        theirs = (self.dealer.row(one.shuffled(rng)) for one in drawn)  # in another order each time
        theirs = filter(self.judge.fits, theirs)
        share = self.config.comparisons_share if isinstance(self.config, PolicyJudge) else 0.0
        first = min(int(count * share + rng.random()), len(drawn))  # on the mean so many, however few tasks there are
        return chain(islice(theirs, first), own[: count - first], theirs, own[count - first :])

    def _enough(
        self, domain: str, sides: Mapping[Side, Sequence[Sequence[Labelled]]], count: int, rng: random.Random
    ) -> list[list[Batch]]:
        """Rows that ask about each side, in an order that is drawn: where `count` is odd, neither has always more.

        They are of what was just written, and of earlier tasks where that is not enough for `count` of all and as many
        again, which refills may take.
        """
        most = max(min(map(len, sides.values())), 2 * count // len(sides))
        piles = []
        for side, hands in sides.items():
            fresh = list(islice(filter(self.judge.fits, map(self.dealer.labelled, hands)), most))
            besides = {row["case"].identity() for row in fresh}
            before = self.replay.draw(domain, side, most - len(fresh), rng, besides)
            piles.append(fresh + [self.dealer.row(case.shuffled(rng)) | {"is_replayed": True} for case in before])
        return rng.sample(piles, len(piles))

    def rewards(self, rows: Sequence[Batch]) -> torch.Tensor:
        """`[B, rewards]`: what verdicts are worth beside their labels, NaN in all other rewards."""
        settings = list(self.scorer.settings.values())
        assert self.column is not None
        judgment = cast(Judgment, settings[self.column])
        scores = asyncio.run(judgment([row["sample"] for row in rows], self.scorer.bench))
        rewards_BR = torch.full((len(rows), len(settings)), torch.nan)
        rewards_BR[:, self.column] = torch.tensor([score.value for score in scores if score is not None])
        return rewards_BR

    def told(self, rows: Sequence[Batch], rewards_BR: torch.Tensor) -> dict[str, float]:
        """What judging tasks say of the judge, as metrics."""
        if not rows:
            return {}
        out = {
            "judge/tokens": sum(row["sample"].tokens for row in rows) / len(rows),
            "judge/reward": rewards_BR[:, self.column].mean().item(),
            "judge/replayed_share": sum(row.get("is_replayed", False) for row in rows) / len(rows),
        }
        theirs = [row for row in rows if not any(row["case"].of)]
        new = [row for row in rows if any(row["case"].of) and not row.get("is_replayed", False)]
        for name, own in {"judge/task_agreement": new, "judge/people_agreement": theirs}.items():
            if (agrees := agreement(judged(own))) is not None:
                out[name] = agrees
        return out

    def silence(self, rows: Sequence[Batch]) -> dict[str, float]:
        """The share of completions on which no verdict can be read, and, where asked for, of those without a rubric."""
        asked = [row["sample"].votes for row in rows if row["sample"].votes]
        silent = sum(all(vote.value is None for vote in votes) for votes in asked)
        out = {"judge/without_verdict": silent / len(asked)} if asked else {}
        if self.config.writes_rubrics:
            lacking = [self.dealer.rubric(row) is None for row in rows if self.dealer.tries[row["task"]]]
            out |= {"judge/without_rubric": sum(lacking) / len(lacking)} if lacking else {}
        return out

    def _no_rubrics(self) -> bool:
        tries, refused = self.dealer.refused()
        return tries >= LEAST and refused > MOST_REFUSED

    def _tell_of_rubrics(self) -> None:
        """Where the judge is asked for rubrics and writes none, so that nothing is judged: once, as it begins."""
        lacks = self._no_rubrics()
        if lacks and not self._lacks_rubrics:
            tries, refused = self.dealer.refused()
            self.tell(Alarm("judge_writes_no_rubrics", self.step, None, refused, MOST_REFUSED, (
                f"of {tries} rubrics that the judge was asked for {refused:.0%} are none, and what has none has no "
                "vote: read rubrics.jsonl, raise judge.max_completion_length, or give the reward a rubric"
            )))  # fmt: skip
        self._lacks_rubrics = lacks

    def keep(self, rows: Sequence[Batch], purpose: str) -> None:
        """Write down what the judge was asked and what it said, all of it, for people to read."""
        for row in rows:
            own: Completion = row["sample"]
            case: Case = row["case"]
            votes = votes_of(row)
            faults = list(dict.fromkeys(vote.fault for vote in votes if vote.fault))
            line = {"step": self.step, "purpose": purpose, "name": own.name, "asked": row["asked"]}
            line |= {"reasoning": own.reasoning, "content": own.content}
            line |= {"scores": [vote.value for vote in votes], "faults": faults}
            if purpose == "task":  # with all that it takes to ask about it again
                line |= case.model_dump(mode="json") | {"replayed": row.get("is_replayed", False)}
                self._remember(case)
            else:
                line |= case.model_dump(mode="json", include={"of", "domain", "labels", "criteria"})
            append_line(self.folder.judgments, line)

    def _remember(self, case: Case) -> None:
        if any(case.of):  # people's have a file of their own
            self.replay.add(case)

    def is_due(self) -> bool:
        """Whether the judge is to be looked at before this step."""
        return self.looked_at is None or self.step - self.looked_at >= self.config.trust.probe_steps

    def look(self, answer: Ask, answers: int) -> dict[str, float]:
        """See whether to trust the judge from this step on; what it showed, as metrics.

        `answer` lets the policy answer the probe's prompts; its first ones, `answers` to each, stay for the stage.
        """
        looks = self._looks(answer, answers)
        self._hear([row for look in looks.values() for row in (*look.cases, *look.fresh)], "look")
        self.looked_at = self.step
        metrics: dict[str, float] = {}
        for name, look in looks.items():
            measures, trust = look.measures(), self.trust[name]
            append_line(self.folder.looks, {"step": self.step, "domain": name} | measures)
            for alarm in trust.feed(self.step, measures):
                self.tell(alarm)
            metrics |= {f"judge/{key}/{name}": value for key, value in measures.items()} if trust.of else {}
        together = sum(looks.values(), Look([], [], 0)).measures()
        metrics |= {f"judge/{key}": value for key, value in together.items()}
        return metrics | {"judge/trusted": all(trust.holds() for trust in self.trust.values())}

    def _looks(self, answer: Ask, answers: int) -> dict[str, "Look"]:
        """What the judge is asked about each domain."""
        cases = self._cases(answer, answers)
        fresh = [dict(row) for row in self.probe for _ in range(self.config.responses)]
        answer(fresh)
        looks = {}
        for name in self.trust:
            hands = self._fresh_hands([row for row in fresh if row["domain"] == name])
            new = self._fitting(hands)
            looks[name] = Look(cases[name], new, (len(hands) - len(new)) * self.config.responses)
        return looks

    def _cases(self, answer: Ask, answers: int) -> dict[str, list[Batch]]:
        """What the judge is asked of each domain at every look, from the first on that finds enough.

        Several responses are asked about in both orders.
        """
        # Of a look that is behind the last checkpoint, and will be made again, nothing is known
        last = -1 if self.looked_at is None else self.looked_at
        known = read_json(self.folder.probe) or {}
        known = {name: own for name, own in known.items() if own["step"] <= last and len(own["cases"]) >= LEAST}
        if lacking := [name for name in self.trust if name not in known]:
            rows = [dict(row) for row in self.probe if row["domain"] in lacking for _ in range(answers)]
            answer(rows)
            found = self._contrasts(rows, random.Random(0))
            for name in lacking:
                hands = balanced(found[name].values()) if name in found else []
                hands += [hand[::-1] for hand in hands if len(hand) > 1]
                cases = [row["case"] for row in self._fitting(list(map(self.dealer.labelled, hands)))]
                known[name] = {"step": self.step, "cases": [own.model_dump(mode="json") for own in cases]}
            write_json(self.folder.probe, known)
        return {
            name: [self.dealer.row(Case.model_validate(case)) for case in own["cases"]] for name, own in known.items()
        }

    def _fresh_hands(self, fresh: Sequence[Batch]) -> list[Batch]:
        """What the policy answers now, shown as votes are asked for: alone, or several answers to a prompt together."""
        known = self._labelled(fresh)
        size = self.config.responses
        hands = [known[start : start + size] for start in range(0, len(known), size)]
        hands = [[own for own in hand if self.dealer.can_be_judged(own.row)] for hand in hands]
        return [self.dealer.labelled(hand) for hand in hands if len(hand) == size]

    def _fitting(self, rows: Sequence[Batch]) -> list[Batch]:
        return [row for row in rows if self.judge.fits(row)]

    def _hear(self, rows: list[Batch], purpose: str) -> None:
        if not rows:
            return
        started = time.perf_counter()
        self.judge.ask(rows)
        self.seconds += time.perf_counter() - started
        for row in rows:
            own: Completion = row["sample"]
            # A verdict of the policy is an episode of the step, with a name among these; any other has one of its own
            row["sample"] = replace(own, name=own.name or f"{self.step}/judge/{self.heard}")
            self.heard += 1
        self.keep(rows, purpose)

    def _labelled(self, rows: Sequence[Batch]) -> list[Labelled]:
        """Completions with what verifiers say of them, from 0 to 1."""
        scores = asyncio.run(self.scorer.bench.verify([row["sample"] for row in rows]))
        return [self.dealer.known(row, score) for row, score in zip(rows, scores, strict=True)]

    def _contrasts(self, rows: Sequence[Batch], rng: random.Random) -> dict[str, dict[Side, list[list[Labelled]]]]:
        """Hands of answers whose worth is known, of each domain and side."""
        self.dealer.write_rubrics(rows, self.step)
        # Of each domain's prompts, by what they say
        answers: dict[str, dict[str, dict[str, Labelled]]] = {}
        for own in self._labelled(rows):
            row = own.row
            if self.dealer.can_be_judged(row):
                prompts = answers.setdefault(row["domain"], {})
                prompts.setdefault(row["prompt"], {})[row["sample"].content] = own
        return {
            name: contrasts([list(own.values()) for own in prompts.values()], self.config.responses, rng)
            for name, prompts in answers.items()
        }


@dataclass(frozen=True)
class Look:
    """Rows that ask a judge about one domain, and how many fresh answers it could not be asked about."""

    cases: list[Batch]
    fresh: list[Batch]
    unasked: int

    def __add__(self, other: "Look") -> "Look":
        return Look(self.cases + other.cases, self.fresh + other.fresh, self.unasked + other.unasked)

    def measures(self) -> dict[str, float]:
        """What the verdicts show."""
        return measure(judged(self.cases), judged(self.fresh), self.unasked)


def judged(rows: Sequence[Batch]) -> list[list[Judged]]:
    """What verdicts on labelled responses say, verdict by verdict."""
    return [
        [
            Judged(vote.value, label, vote.place, len(row["case"].labels))
            for vote, label in zip(votes_of(row), row["case"].labels, strict=True)
        ]
        for row in rows
    ]


def _add_vote(row: Batch, vote: Vote) -> None:
    completion: Completion = row["sample"]
    row["sample"] = replace(completion, votes=(*completion.votes, vote))
