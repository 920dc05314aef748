"""Whether a short text meets those of its criteria that can be checked."""

import json
import re
from collections.abc import Mapping
from typing import Any, Literal

from polymath.completion import Completion
from rewards.base import Verifier, Workbench
from rewards.score import Score

LEAST_WORDS = 5  # of anything that is a text
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


class Writing(Verifier):
    """The share of the criteria that are met, each a part by its place in the rubric.

    The row's answer is JSON: `criteria`, each a list of checks, all of which have to hold: `contains` a text, in any
    case, in a `line` (0 the first, -1 the last) or anywhere; `max_words`, and a few at least; `numbers_of`, a list that
    all its numbers are of.
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
    within = text.split("\n")[check["line"]] if "line" in check else text
    return re.search(rf"(?<!\w){re.escape(check['contains'])}(?!\w)", within, re.IGNORECASE) is not None
