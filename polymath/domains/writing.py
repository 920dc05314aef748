"""Short texts that are judged by a rubric: e-mails and summaries, of facts that are drawn.

All but the last criterion can be checked by the words that have to be there, so that a judge's scores can be held
against what is so; the last one, how it reads, is for a judge alone, and so is whether the words make sense together.
The verifier is `writing`: the share of the criteria that can be checked and are met.
"""

import json
import random
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from polymath.domains.task import Judged, Task, question, reply
from polymath.judging import Criterion, Rubric
from polymath.strict import StrictModel

Kind = Literal["email", "summary"]

# Banks; a `|` stands between their members
NAMES = "Ada|Boris|Chiara|Daniel|Elif|Farid|Greta|Hugo|Ines|Jonas|Kamal|Lena|Marek|Nadia|Omar|Paula|Rosa|Samir|Tilda"
EVENTS = (
    "the budget review|your interview|the site visit|the fire drill|our weekly call|the team lunch|the product demo|"
    "the safety training|the board meeting|your dental appointment|the parents' evening|the delivery of the desks"
)
REASONS = (
    "the room is being painted|two of us are ill|the train drivers are on strike|the projector is broken|the auditors "
    "come that day|the lift is out of order|the heating has failed|our speaker missed her flight|the figures are late"
)
DAYS = "Monday|Tuesday|Wednesday|Thursday|Friday"
FIRMS = "Alder & Sons|Bluefin Works|Corvus Tools|Dunmore Mills|Elmfield Dairy|Fjord Optics|Granite Press|Harrow Looms"
TOWNS = "Aarhus|Bergamo|Coimbra|Dundee|Esbjerg|Freiburg|Ghent|Hexham|Izmir|Jena"
PRODUCTS = "bicycle bells|garden shears|oat milk|reading glasses|wool blankets|wooden toys|water pumps|paper bags"
# What makes a text too long, a sentence and a clause at a time
KINDNESSES = (
    " Do write to me if there is anything that I can do for you until then.| I would be glad to hear from you whenever "
    "it suits you.| Please tell the others as well, if you happen to see them.| It was a pleasure to meet all of you "
    "the last time.| We will find a way to make up for the trouble that this is.| Nothing else has changed, as far as "
    "I can see from here."
)
PRAISE = (
    ", with a care that is rarely seen today|, in a way that its neighbours admire|, as everybody in the town is glad "
    "to tell|, and hopes to do so for a long time to come|, whatever the weather and the times may bring"
)


class _Criterion(NamedTuple):
    """What is asked of a text, what checks it, and the facts that it is about, each with another that misses it."""

    text: str
    checks: Sequence[Mapping[str, Any]]
    flaws: Mapping[str, str]


class _Text(NamedTuple):
    """A task in the making; what is shown is the pattern with its facts."""

    key: str
    asked: str
    pattern: str
    facts: Mapping[str, str]
    criteria: Sequence[_Criterion]
    style: str

    def task(self, scale: int, flaws: Mapping[str, str]) -> Task:
        """With the rubric whose last criterion nothing checks, and a demonstration that has these flaws."""
        criteria = (*(Criterion(text=own.text) for own in self.criteria), Criterion(text=self.style))
        return Task(
            key=self.key,
            messages=question(self.asked),
            demonstration=(reply(self.shown(flaws)),),
            answer=json.dumps({"criteria": [own.checks for own in self.criteria]}),
            rubric=Rubric(criteria=criteria, scale=scale),
        )

    def shown(self, flaws: Mapping[str, str]) -> str:
        """The text, with these facts in the place of its own."""
        return self.pattern.format_map({**self.facts, **flaws})

    def flaws(self, count: int, rng: random.Random) -> dict[str, str]:
        """Facts with which so many criteria are missed, one for each."""
        return dict(rng.choice(sorted(own.flaws.items())) for own in rng.sample(self.criteria, count))

    def met(self, flaws: Mapping[str, str]) -> tuple[float, ...]:
        """Whether each criterion is met, 1 or 0."""
        return tuple(float(own.flaws.keys().isdisjoint(flaws)) for own in self.criteria)

    def critique(self, flaws: Mapping[str, str]) -> str:
        """How a judge of such a text reasons: of each criterion what is asked, what is found, and whether it is met."""
        lines = []
        for place, (own, is_met) in enumerate(zip(self.criteria, self.met(flaws), strict=True), 1):
            if most := own.checks[0].get("max_words"):
                asked, found = (f"{count} words" for count in (most, len(self.shown(flaws).split())))
            else:
                told = ([{**self.facts, **changed}[name].strip() for name in own.flaws] for changed in ({}, flaws))
                asked, found = (", ".join(filter(None, facts)) or "nothing" for facts in told)
            lines.append(f"{place}. {asked} / {found}: {'yes' if is_met else 'no'}")
        return "\n".join(lines)


class WritingDomain(StrictModel):
    """E-mails that move an appointment, and summaries of what is told of a firm."""

    reward: ClassVar[str] = "writing"

    kind: Literal["writing"] = "writing"
    texts: tuple[Kind, ...] = Field(default=("email", "summary"), min_length=1, description="Drawn for each task.")
    scale: int = Field(default=10, ge=1, le=1000, description="The highest score that its rubrics let a judge give.")
    slips: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of the demonstrations that miss one criterion or more: what is shown is not perfect, and "
        "reinforcement has something to add. With any, the domain is for `sft` alone.",
    )

    def draw(self, rng: random.Random) -> Task:
        """One text to write, with its rubric."""
        text = self._text(rng)
        missed = rng.randint(1, len(text.criteria)) if self.slips and rng.random() < self.slips else 0
        return text.task(self.scale, text.flaws(missed, rng))

    def judged(self, count: int, rng: random.Random) -> Judged:
        """So many texts, of which one meets all criteria that can be checked; a single one most, or hardly any."""
        text = self._text(rng)
        most = len(text.criteria)
        missed = [rng.randint(1, most) for _ in range(count)]
        missed[rng.randrange(count)] = 0 if count > 1 else rng.choice((0, 1, most - 1, most))
        flaws = [text.flaws(own, rng) for own in missed]
        return Judged(
            text.task(self.scale, {}),
            tuple(map(text.shown, flaws)),
            tuple(map(text.critique, flaws)),
            tuple(1 - own / most for own in missed),
            (*text.met(flaws[0]), None) if count == 1 else (),
        )

    def _text(self, rng: random.Random) -> _Text:
        return {"email": _email, "summary": _summary}[rng.choice(self.texts)](rng)


def _email(rng: random.Random) -> _Text:
    sender, recipient, stranger = rng.sample(NAMES.split("|"), 3)
    (event, other_event), (reason, other_reason) = _two(rng, EVENTS), _two(rng, REASONS)
    old, new = rng.sample(DAYS.split("|"), 2)
    most = rng.randrange(40, 80, 5)
    hour, other_hour = (f"{own}:{rng.choice(('00', '15', '30', '45'))}" for own in rng.sample(range(8, 18), 2))
    return _Text(
        key=f"writing email {recipient} {event} {new} {hour}",
        asked=f"Write an e-mail from {sender} to {recipient}: {event} moves from {old} to {new} at {hour}, because "
        f"{reason}. At most {most} words.",
        pattern="Dear {recipient},\n\n{event} will {now} be on {day} at {hour}, because {reason}. I am sorry for the "
        "late change, and hope that this suits you.{more}\n\nKind regards,\n{sender}",
        facts={"recipient": recipient, "event": event, "now": "now", "day": new, "hour": hour, "reason": reason,
               "more": "", "sender": sender},
        criteria=(
            _Criterion(
                f"It addresses {recipient} in its first line and ends with the name of {sender}.",
                ({"addresses": recipient}, {"signed": sender}),
                {"recipient": stranger, "sender": stranger},
            ),
            _Criterion(
                f"It says that {event} is now on {new} at {hour}.",
                ({"contains": event}, {"contains": new}, {"contains": hour}),
                {"event": other_event, "now": "not", "day": old, "hour": other_hour},
            ),
            _Criterion(f"It gives the reason: {reason}.", ({"contains": reason},), {"reason": other_reason}),
            _Criterion(
                f"It has at most {most} words.", ({"max_words": most},), {"more": _more(rng, KINDNESSES, most)}
            ),
        ),
        style="It is polite, and reads as one person writes to another.",
    )  # fmt: skip


def _summary(rng: random.Random) -> _Text:
    (firm, other_firm), (product, other_product) = _two(rng, FIRMS), _two(rng, PRODUCTS)
    town, founder = _one(rng, TOWNS), _one(rng, NAMES)
    most = rng.randrange(20, 40, 5)
    year = rng.randrange(1890, 1990)
    moved, people, now = year + rng.randrange(5, 30), rng.randrange(12, 90), rng.randrange(120, 900)
    told = [
        f"{firm} of {town} makes {product}.",
        f"{founder} founded it in {year} with {people} workers.",
        f"In {moved} it moved into the old brewery by the river, which it has not left since.",
        f"Today {now} people work there, many of them in the second generation.",
    ]
    return _Text(
        key=f"writing summary {firm} {product} {year}",
        asked=f"Summarize in one sentence of at most {most} words what the firm is, what it makes and since when:\n\n"
        + " ".join(told),
        pattern="{firm} of {town}{shops} has made {product} since {year}{more}.",
        facts={"firm": firm, "town": town, "shops": "", "product": product, "year": str(year), "more": ""},
        criteria=(
            _Criterion(
                f"It names {firm} and says that it makes {product}.",
                ({"contains": firm}, {"contains": product}),
                {"firm": other_firm, "product": other_product},
            ),
            _Criterion(
                f"It says that this has been so since {year}.", ({"contains": str(year)},), {"year": str(moved)}
            ),
            _Criterion(
                "It gives no number that the text does not have.",
                ({"numbers_of": [year, moved, people, now]},),
                {"shops": f" with {rng.randrange(2, 12)} shops"},
            ),
            _Criterion(f"It has at most {most} words.", ({"max_words": most},), {"more": _more(rng, PRAISE, most)}),
        ),
        style="It is one sentence, in words of its own, and reads well.",
    )  # fmt: skip


def _more(rng: random.Random, bank: str, most: int) -> str:
    """More words than `most`, in an order that is drawn."""
    parts = bank.split("|")
    rng.shuffle(parts)
    ends = accumulate(map(len, map(str.split, parts)))
    return "".join(parts[: 1 + sum(end <= most for end in ends)])


def _two(rng: random.Random, bank: str) -> tuple[str, str]:
    first, second = rng.sample(bank.split("|"), 2)
    return first, second


def _one(rng: random.Random, bank: str) -> str:
    return rng.choice(bank.split("|"))
