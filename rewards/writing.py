"""Whether a short text meets those of its criteria that can be checked.

That a text makes sense is more than words can tell, and for a judge.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from polymath.completion import Completion
from rewards.base import Verifier, Workbench
from rewards.score import Score

LEAST_WORDS = 5  # of anything that is a text
PARTS_OF_A_WORD = 3  # mother-in-law
GREETING_WORDS = 3  # before a name: "Good morning, dear Ada"
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
NUMBER_WORD = re.compile(
    r"\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen|"
    r"(?:twen|thir|for|fif|six|seven|eigh|nine)ty|(?:hundred|thousand|million|dozen)s?)\b",
    re.IGNORECASE,
)
PART = re.compile(r"[^\W_]+")
DENIAL_REACH = 60  # characters before a fact
# What stands before a fact that is denied: "not on Friday", "has never made water pumps", but not "not before Friday"
DENIAL = re.compile(
    r"\b(?:not|never|nor|neither|no longer|cannot|without|rather than|instead of|forget|[a-z]+n['\u2019]t)\s+"
    r"(?:(?:about|ahead|at|be|because|been|being|by|for|going|happen|happening|held|in|is|made|makes?|making|moved|"
    r"moving|next|of|on|place|since|taking|take|the|this|to)\s+)*$",
    re.IGNORECASE,
)


class Writing(Verifier):
    """The share of the criteria that are met, each a part by its place in the rubric.

    The row's answer is JSON: `criteria`, each a list of checks, all of which have to hold: `contains` a text, in any
    case, and not denied; `addresses` somebody in a line of its own that comes first, `signed` in one that comes last;
    `max_words`, and a few at least; `numbers_of`, a list that all its numbers are of.
    """

    name: Literal["writing"] = "writing"

    def verify(self, completion: Completion, bench: Workbench) -> Score:
        text = completion.content.strip()
        if not text or completion.turns[-1]["tool_calls"]:
            return Score(0.0, faults=("no text",))
        criteria = json.loads(completion.answer)["criteria"]
        met = {str(place): float(all(holds(c, text) for c in own)) for place, own in enumerate(criteria, 1)}
        faults = tuple(f"criterion {place} is not met" for place, own in met.items() if not own)
        return Score(sum(met.values()) / len(met), met, faults)


def holds(check: Mapping[str, Any], text: str) -> bool:
    """Whether one check of a criterion holds for a text that is not empty."""
    ((kind, wanted),) = check.items()
    return CHECKS[kind](wanted, text)


def _contains(fact: str, text: str) -> bool:
    pattern = re.compile(rf"(?<!\w){_anyhow(fact)}(?!\w)", re.IGNORECASE)
    starts = (found.start() for found in pattern.finditer(text))
    return any(not DENIAL.search(text, max(0, start - DENIAL_REACH), start) for start in starts)


def _addresses(name: str, text: str) -> bool:
    first, *more = _lines(text)
    greeting = rf"\W*(?:\w+\W+){{0,{GREETING_WORDS}}}{_anyhow(name)}(?!\w)"
    return bool(more) and re.match(greeting, first, re.IGNORECASE) is not None


def _signed(name: str, text: str) -> bool:
    *more, last = _lines(text)
    return bool(more) and re.search(rf"(?<!\w){_anyhow(name)}\W*$", last, re.IGNORECASE) is not None


def _max_words(most: int, text: str) -> bool:
    """What is joined by more than a word's own hyphens are several words."""
    words = sum(max(1, len(PART.findall(own)) - PARTS_OF_A_WORD + 1) for own in text.split())
    return LEAST_WORDS <= words <= most


def _numbers_of(numbers: Sequence[int], text: str) -> bool:
    return set(NUMBER.findall(text)) <= set(map(str, numbers)) and not NUMBER_WORD.search(text)


def _lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.strip()]


def _anyhow(fact: str) -> str:
    """A pattern of the fact, however its words are set apart."""
    return r"\s+".join(map(re.escape, fact.split()))


CHECKS: Mapping[str, Callable[[Any, str], bool]] = {
    "contains": _contains, "addresses": _addresses, "signed": _signed,
    "max_words": _max_words, "numbers_of": _numbers_of,
}  # fmt: skip
