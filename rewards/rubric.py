"""What a judge says of a completion by a rubric, from 0 to 1.

A judge needs an engine, and is asked before rewards are computed, about all completions of a batch at once: what it
said comes with the completion, as its votes.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from polymath.completion import Completion
from polymath.judging import Rubric, Vote
from rewards.base import RewardConfig, Workbench
from rewards.score import Score


class RubricReward(RewardConfig):
    """The mean of a judge's votes; None where it was not asked, or said nothing that can be read.

    Votes are averaged as scores are in DeepSeek-GRM (arXiv 2504.02495, section 4.1).
    """

    name: Literal["rubric"] = "rubric"
    rubric: Rubric | None = Field(default=None, description="Of rows that have none of their own.")

    def __call__(self, completions: Sequence[Completion], bench: Workbench) -> list[Score | None]:
        return [mean_vote(own.votes) for own in completions]

    def rubric_of(self, completion: Completion) -> Rubric | None:
        """What a completion is judged by; None where nothing says so."""
        return Rubric.model_validate_json(completion.rubric) if completion.rubric else self.rubric


def mean_vote(votes: Sequence[Vote]) -> Score | None:
    """The mean over the votes that can be read, and of each criterion where there are several; None without any."""
    values = [own.value for own in votes if own.value is not None]
    if not values:
        return None
    columns = list(zip(*(own.parts for own in votes if own.parts), strict=True))
    parts = {str(place): sum(own) / len(own) for place, own in enumerate(columns, 1)} if len(columns) > 1 else {}
    return Score(sum(values) / len(values), parts, tuple(dict.fromkeys(own.fault for own in votes if own.fault)))
