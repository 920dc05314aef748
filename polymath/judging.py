"""What a judge is asked, and how it answers: a rubric, one response or several, and a verdict of whole numbers.

    Judge ... from 0 to 10 ...          what is asked, and of how many
    <task> .. </task>                   what the responses answer
    <reference> .. </reference>         where there is one
    <response 1> .. </response 1> ..    in the order in which the verdict names them
    1. criterion (weight 2) ..

    critique                            what the judge writes, as long as it likes
    Scores: 7, 10                       and its last line: one for each criterion, or for each of several responses

Principles, critique and scores from one prompt are DeepSeek-GRM's (arXiv 2504.02495, section 3); that the actor itself
is asked is V4's (report, section 5.1.1).
"""

import re
from collections.abc import Sequence

from pydantic import Field, PositiveInt

from polymath.strict import StrictModel

VERDICT = re.compile(r"Scores: ([0-9]+(?:, [0-9]+)*)")
TAG = re.compile(r"<(?=/?(?:task|reference|response)\b)")


class Criterion(StrictModel):
    """One thing that a response is judged by."""

    text: str = Field(min_length=1)
    weight: float = Field(default=1.0, gt=0)


class Rubric(StrictModel):
    """What a response is judged by."""

    criteria: tuple[Criterion, ...] = Field(min_length=1)
    reference: str = Field(default="", description="A response that is right, for the judge to compare with.")
    scale: PositiveInt = Field(default=10, description="The highest score; the lowest is 0.")


def question(rubric: Rubric, task: str, responses: Sequence[str]) -> str:
    """What the judge is asked: to score one response by each criterion, or each of several by all of them."""
    several = len(responses) > 1
    what = f"each of {len(responses)} responses by all criteria" if several else "the response by each criterion"
    parts = [f"Judge {what}, from 0 to {rubric.scale}.", _inside("task", task)]
    if rubric.reference:
        parts.append(_inside("reference", rubric.reference))
    parts += [_inside(f"response {place}" if several else "response", own) for place, own in enumerate(responses, 1)]
    weighted = len({own.weight for own in rubric.criteria}) > 1
    parts += [
        f"{place}. {own.text}{f' (weight {own.weight:g})' if weighted else ''}"
        for place, own in enumerate(rubric.criteria, 1)
    ]
    return "\n".join([*parts, f'Last line: "Scores: " and {"a number for each" if several else "the numbers"}.'])


def _inside(tag: str, text: str) -> str:
    """A text between tags; it can close none of them."""
    return f"<{tag}>{TAG.sub('< ', text)}</{tag}>"


def verdict(scores: Sequence[int]) -> str:
    """A verdict as a judge ends with it."""
    return f"Scores: {', '.join(map(str, scores))}"


def read_verdict(content: str, count: int, scale: int) -> tuple[int, ...]:
    """The scores that a judge's answer ends with; `ValueError` where it does not end with `count` of them."""
    *before, last = content.rstrip("\n").split("\n")
    found = VERDICT.fullmatch(last)
    if not found or any(line.startswith("Scores:") for line in before):
        raise ValueError("it does not end with its one line of scores")
    scores = tuple(map(int, found[1].split(", ")))
    if len(scores) != count:
        raise ValueError(f"it has {len(scores)} scores in place of {count}")
    if max(scores) > scale:
        raise ValueError(f"a score of {max(scores)} is above {scale}")
    return scores


def share(scores: Sequence[int], rubric: Rubric) -> float:
    """What one response is worth by its criteria's scores, by weight, from 0 to 1."""
    weights = [own.weight for own in rubric.criteria]
    return sum(w * s for w, s in zip(weights, scores, strict=True)) / (sum(weights) * rubric.scale)
