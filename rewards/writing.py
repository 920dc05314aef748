"""Whether a short text meets those of its criteria that can be checked.

That a text makes sense is more than words can tell, and for a judge.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Literal

from polymath.completion import Completion
from rewards.base import Verifier, Workbench
from rewards.score import Score

LEAST_WORDS = 5  # of anything that is a text
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
DENIAL_REACH = 60  # characters before a fact
# What stands before a fact that is denied: "not on Friday", "has never made water pumps", but not "not before Friday"
DENIAL = re.compile(
    r"\b(?:not|never|nor|neither|no longer|cannot|without|[a-z]+n['\u2019]t)\s+"
    r"(?:(?:at|be|because|been|being|by|for|in|is|made|makes?|making|next|of|on|since|the|this|to)\s+)*$",
    re.IGNORECASE,
)


class Writing(Verifier):
    """The share of the criteria that are met, each a part by its place in the rubric.

    The row's answer is JSON: `criteria`, each a list of checks, all of which have to hold: `contains` a text, in any
    case, in a `line` (0 the first, -1 the last), or anywhere and not denied; `max_words`, and a few at least;
    `numbers_of`, a list that all its numbers are of.
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
    if "max_words" in check:
        return LEAST_WORDS <= len(text.split()) <= check["max_words"]
    if "numbers_of" in check:
        return set(NUMBER.findall(text)) <= set(map(str, check["numbers_of"]))
    fact = re.compile(rf"(?<!\w){re.escape(check['contains'])}(?!\w)", re.IGNORECASE)
    if "line" in check:
        return fact.search(text.split("\n")[check["line"]]) is not None
    starts = (found.start() for found in fact.finditer(text))
    return any(not DENIAL.search(text, max(0, start - DENIAL_REACH), start) for start in starts)
