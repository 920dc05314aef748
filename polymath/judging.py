"""What a judge is asked, and how it answers: a rubric, one response or several, and a verdict of whole numbers.

    Judge ... from 0 to 10 ...          what is asked, and of how many
    1. criterion (weight 2) ..
    <task> .. </task>                   what the responses answer
    <reference> .. </reference>         where there is one
    <response 1> .. </response 1> ..    in the order in which the verdict names them

    critique                            what the judge writes, as long as it likes
    Scores: 7, 10                       and its last line: one for each criterion, or for each of several responses

What many judgments share stands first, so that an engine computes it once.

Principles, critique and scores from one prompt are DeepSeek-GRM's (arXiv 2504.02495, section 3); that the actor itself
is asked is V4's (report, section 5.1.1).
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated

from pydantic import AfterValidator, Field

from polymath.chat.tokens import first_token
from polymath.strict import StrictModel

NUMBER = "(?:0|[1-9][0-9]*)"
VERDICT = re.compile(rf"Scores: ({NUMBER}(?:, {NUMBER})*)")
OTHER_VERDICT = re.compile(r"\bscores?\W*:", re.IGNORECASE)
CRITERION = re.compile(r"- (?P<text>\S.*?)(?: \(weight (?P<weight>[1-9])\))?")
MOST_CRITERIA = 9
# Of a line that is nothing but a score: "Final scores: 10 out of 10", "1. Score = ten"
SCORES = {"score", "scores"}
BESIDE = {"my", "the", "final", "overall", "total", "out", "of", "and"}
NUMBERS = {"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "full", "hundred"}
WORD = re.compile(r"[^\W\d_]+")
TAG = re.compile(r"</*(?:task|reference|response)")
FILLERS = "\u115f\u1160\u3164\uffa0"  # letters without a shape
LONGEST_SCORE = 400  # characters of such a line
LONGEST = 1_000_000  # characters of a text, beyond the context of any model that could judge it
# What looks like a letter or sign of a tag and is another character, beside those that NFKD takes apart
LOOKALIKES = str.maketrans(
    "\u2039\u2329\u27e8\u3008\u02c2\u1438\u276e\u2044\u2215\\"
    "\u0430\u0441\u0435\u0456\u043a\u043e\u0440\u0455\u0442\u0433\u043f\u03b1\u03bf\u03c1\u03ba\u03c4\u03b5",
    "<<<<<<<///aceikopstrnaopkte",
)


def _can_be_shown(text: str) -> str:
    if any("\ud800" <= own <= "\udfff" for own in text):
        raise ValueError("holds half of a pair of surrogates, which is no text")
    if token := first_token(text):
        raise ValueError(f"holds {token}, a token of the chat format, which no message can")
    if len(text) > LONGEST:
        raise ValueError(f"has {len(text):,} characters, and no judge reads over {LONGEST:,}: shorten it")
    return text


Showable = Annotated[str, AfterValidator(_can_be_shown)]  # a text that a judge can read


class Criterion(StrictModel):
    """One thing that a response is judged by."""

    text: Showable = Field(pattern=r"^\S[^\n]*$", description="One line.")
    weight: float = Field(default=1.0, gt=0, le=1000)


class Rubric(StrictModel):
    """What a response is judged by."""

    criteria: tuple[Criterion, ...] = Field(min_length=1)
    reference: Showable = Field(default="", description="A response that is right, for the judge to compare with.")
    scale: int = Field(default=10, ge=1, le=1000, description="The highest score; the lowest is 0.")


@dataclass(frozen=True)
class Vote:
    """What one verdict says of one response: from 0 to 1, or None where it cannot be read, and why.

    `parts` are by criterion, where one response was asked about; of several it was shown at `place`, from 1.
    """

    value: float | None
    parts: tuple[float, ...] = ()
    fault: str = ""
    place: int = 1


def judge_prompt(rubric: Rubric, task: str, responses: Sequence[str]) -> str:
    """What the judge is asked: to score one response by each criterion, or each of several by all of them."""
    several = len(responses) > 1
    what = f"each of {len(responses)} responses by all criteria" if several else "the response by each criterion"
    weighted = len({own.weight for own in rubric.criteria}) > 1
    parts = [f"Judge {what}, from 0 to {rubric.scale}."]
    parts += [
        f"{place}. {_guarded(own.text)}{f' (weight {own.weight:g})' if weighted else ''}"
        for place, own in enumerate(rubric.criteria, 1)
    ]
    parts.append(_inside("task", task))
    if rubric.reference:
        parts.append(_inside("reference", rubric.reference))
    shown = map(without_scores, responses)
    parts += [_inside(f"response {place}" if several else "response", own) for place, own in enumerate(shown, 1)]
    form = verdict([0] * (len(responses) if several else len(rubric.criteria)))
    return "\n".join([*parts, f'End with one line of whole numbers in their order: "{form}", or higher.'])


def _inside(tag: str, text: str) -> str:
    """A text between tags; it can close none of them."""
    return f"<{tag}>{_guarded(text)}</{tag}>"


def _guarded(text: str) -> str:
    """The text with no beginning of a tag in it, whatever characters it is made to look like one with."""
    seen = [(own, place) for place, char in enumerate(text) for own in _seen(char)]
    out = list(text)
    for found in TAG.finditer("".join(own for own, _ in seen)):
        out[seen[found.start()][1]] = "&lt;"
    return "".join(out)


def _seen(char: str) -> str:
    """A character as a reader takes it; '' for what is not seen."""
    if char < "\x7f":
        return "" if char <= " " else char.lower().translate(LOOKALIKES)
    plain = unicodedata.normalize("NFKD", char)
    kept = [own for own in plain if unicodedata.category(own) not in ("Mn", "Me", "Cf", "Cc", "Zs", "Zl", "Zp")]
    return "" if char in FILLERS else "".join(kept).casefold().translate(LOOKALIKES)


def without_scores(response: str) -> str:
    """What a response says but for the scores that it gives itself, which are no matter of somebody else's verdict."""
    return "\n".join(line for line in f"{response}\n".splitlines() if not _is_score(line))


def _is_score(line: str) -> bool:
    """Whether a line is nothing but a score, however it is written."""
    if len(line) > LONGEST_SCORE:
        return False
    seen = "".join(_seen(char) or " " * char.isspace() for char in line)
    words = set(WORD.findall(seen))
    is_stated = any(char.isdigit() or char == ":" for char in seen) or words & NUMBERS
    return bool(words & SCORES and is_stated and words <= SCORES | BESIDE | NUMBERS)


def verdict(scores: Sequence[int]) -> str:
    """A verdict as a judge ends with it."""
    return f"Scores: {', '.join(map(str, scores))}"


def read_verdict(content: str, count: int, scale: int) -> tuple[int, ...]:
    """The scores that a judge's answer ends with; `ValueError` where it does not end with `count` of them."""
    *before, last = content.rstrip("\n").split("\n")
    found = VERDICT.fullmatch(last)
    if not found or any(OTHER_VERDICT.search(line) for line in before):
        raise ValueError("it does not end with its one line of scores")
    scores = tuple(map(int, found[1].split(", ")))
    if len(scores) != count:
        raise ValueError(f"it has {len(scores)} scores in place of {count}")
    if max(scores) > scale:
        raise ValueError(f"a score of {max(scores)} is above {scale}")
    return scores


def share(scores: Sequence[int], rubric: Rubric, known: Sequence[float | None] = ()) -> float:
    """What one response is worth by its criteria's scores, by weight, from 0 to 1.

    Where labels are `known` by criterion, None standing for what nobody knows, those alone count that have one.
    """
    values = [Fraction(own, rubric.scale) for own in scores]
    if known:
        values = [None if label is None else own for own, label in zip(values, known, strict=True)]
    return by_weight(values, rubric)


def by_weight(values: Sequence[float | Fraction | None], rubric: Rubric) -> float:
    """The mean of what a response is worth by each criterion, by weight, without those of which nobody knows (None)."""
    known = [
        (Fraction(own.weight), Fraction(value))
        for own, value in zip(rubric.criteria, values, strict=True)
        if value is not None
    ]
    # In fractions: the middle of the scale is 0.5, however weights round
    return float(sum(weight * value for weight, value in known) / sum(weight for weight, _ in known))


def read_votes(content: str, count: int, rubric: Rubric, known: Sequence[float | None] = ()) -> list[Vote]:
    """A judge's answer as a vote on each of the `count` responses that it was asked about; `known` as in `share`."""
    try:
        scores = read_verdict(content, count if count > 1 else len(rubric.criteria), rubric.scale)
    except ValueError as error:
        return unreadable(str(error), count)
    if count == 1:
        return [Vote(share(scores, rubric, known), tuple(own / rubric.scale for own in scores))]
    return [Vote(own / rubric.scale, place=place) for place, own in enumerate(scores, 1)]


def unreadable(fault: str, count: int) -> list[Vote]:
    """The votes of an answer that says nothing."""
    return [Vote(None, fault=fault, place=place) for place in range(1, count + 1)]


def rubric_prompt(task: str) -> str:
    """What a judge is asked for where a task comes without a rubric."""
    return "\n".join(
        [
            "Write down by which criteria to judge responses to this task.",
            _inside("task", task),
            f'At most {MOST_CRITERIA} lines, and nothing else: "- criterion (weight 1)", with weights from 1 to 9.',
        ]
    )


def read_rubric(content: str, scale: int) -> Rubric:
    """The rubric that such an answer is; `ValueError` where it is none."""
    lines = [line.rstrip() for line in content.split("\n") if line.strip()]
    found = [CRITERION.fullmatch(line) for line in lines]
    if not 0 < len(lines) <= MOST_CRITERIA or not all(own and "(weight" not in own["text"] for own in found):
        raise ValueError(f"it is not 1 to {MOST_CRITERIA} lines of criteria")
    criteria = tuple(Criterion(text=own["text"], weight=float(own["weight"] or 1)) for own in found if own)
    return Rubric(criteria=criteria, scale=scale)
