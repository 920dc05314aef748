"""Short texts that are judged by a rubric: e-mails and summaries, of facts that are drawn.

All but the last criterion can be checked by the words that have to be there, so that a judge's scores can be held
against what is so; the last one, how it reads, is for a judge alone, and so is whether the words make sense together.
The verifier is `writing`: the share of the criteria that can be checked and are met.
"""

import json
import random
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from polymath.domains.task import Task, question, reply
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


class _Text(NamedTuple):
    """A task in the making: each criterion with what checks it."""

    key: str
    asked: str
    shown: str
    criteria: Sequence[tuple[str, Sequence[Mapping[str, Any]]]]
    style: str


class WritingDomain(StrictModel):
    """E-mails that move an appointment, and summaries of what is told of a firm."""

    reward: ClassVar[str] = "writing"

    kind: Literal["writing"] = "writing"
    texts: tuple[Kind, ...] = Field(default=("email", "summary"), min_length=1, description="Drawn for each task.")
    scale: int = Field(default=10, ge=1, le=1000, description="The highest score that its rubrics let a judge give.")

    def draw(self, rng: random.Random) -> Task:
        """One text to write, with its rubric."""
        text = {"email": _email, "summary": _summary}[rng.choice(self.texts)](rng)
        criteria = (*(Criterion(text=own) for own, _ in text.criteria), Criterion(text=text.style))
        return Task(
            key=text.key,
            messages=question(text.asked),
            demonstration=(reply(text.shown),),
            answer=json.dumps({"criteria": [checks for _, checks in text.criteria]}),
            rubric=Rubric(criteria=criteria, scale=self.scale),
        )


def _email(rng: random.Random) -> _Text:
    sender, recipient = rng.sample(NAMES.split("|"), 2)
    event, reason = _one(rng, EVENTS), _one(rng, REASONS)
    old, new = rng.sample(DAYS.split("|"), 2)
    most = rng.randrange(40, 80, 5)
    hour = f"{rng.randrange(8, 18)}:{rng.choice(('00', '15', '30', '45'))}"
    return _Text(
        key=f"writing email {recipient} {event} {new} {hour}",
        asked=f"Write an e-mail from {sender} to {recipient}: {event} moves from {old} to {new} at {hour}, because "
        f"{reason}. At most {most} words.",
        shown=f"Dear {recipient},\n\n{event} will now be on {new} at {hour}, because {reason}. I am sorry for the late "
        f"change, and hope that this suits you.\n\nKind regards,\n{sender}",
        criteria=(
            (f"It addresses {recipient} in its first line and ends with the name of {sender}.",
             ({"contains": recipient, "line": 0}, {"contains": sender, "line": -1})),
            (f"It says that {event} is now on {new} at {hour}.",
             ({"contains": event}, {"contains": new}, {"contains": hour})),
            (f"It gives the reason: {reason}.", ({"contains": reason},)),
            (f"It has at most {most} words.", ({"max_words": most},)),
        ),
        style="It is polite, and reads as one person writes to another.",
    )  # fmt: skip


def _summary(rng: random.Random) -> _Text:
    firm, town, product, founder = (_one(rng, bank) for bank in (FIRMS, TOWNS, PRODUCTS, NAMES))
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
        shown=f"{firm} of {town} has made {product} since {year}.",
        criteria=(
            (f"It names {firm} and says that it makes {product}.", ({"contains": firm}, {"contains": product})),
            (f"It says that this has been so since {year}.", ({"contains": str(year)},)),
            ("It gives no number that the text does not have.", ({"numbers_of": [year, moved, people, now]},)),
            (f"It has at most {most} words.", ({"max_words": most},)),
        ),
        style="It is one sentence, in words of its own, and reads well.",
    )  # fmt: skip


def _one(rng: random.Random, bank: str) -> str:
    return rng.choice(bank.split("|"))
