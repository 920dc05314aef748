"""Whether an answer is the one of a reference."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from polymath.completion import Completion
from rewards.base import Verifier, Workbench
from rewards.score import Score


class Reference(Verifier):
    """1.0 if the last turn makes the calls of the reference, in any order, or says what it says where it makes none.

    Texts are compared without case and white space at their ends and between words. The part `overlap` is the F1 of
    their words (SQuAD's, arXiv 1606.05250, section 6.1), for answers that may be worded otherwise. The row's answer is
    JSON: `{"content", "calls": [{"name", "arguments"}]}`.
    """

    name: Literal["reference"] = "reference"

    def verify(self, completion: Completion, bench: Workbench) -> Score:
        due = json.loads(completion.answer)
        turn = completion.turns[-1] if completion.turns else {"content": "", "tool_calls": []}
        calls = [_read(own["function"]) for own in turn.get("tool_calls") or ()]
        if due["calls"] or calls:
            same = sorted(map(_ordered, calls)) == sorted(map(_ordered, due["calls"]))
            return Score(float(same), faults=() if same else ("not the calls of the reference",))
        ours, theirs = (text.casefold().split() for text in (turn["content"] or "", due["content"]))
        return Score(float(ours == theirs), {"overlap": overlap(ours, theirs)})


def overlap(ours: Sequence[str], theirs: Sequence[str]) -> float:
    """F1 of two texts' words, however often each stands there."""
    common = (Counter(ours) & Counter(theirs)).total()
    return 2 * common / (len(ours) + len(theirs)) if common else float(ours == theirs)


def _read(function: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"name": function["name"], "arguments": json.loads(function["arguments"])}
    except (ValueError, RecursionError):  # the latter: nested thousands of levels deep
        return {"name": function["name"], "arguments": None}


def _ordered(call: dict[str, Any]) -> str:
    return json.dumps([call["name"], call["arguments"]], sort_keys=True)
