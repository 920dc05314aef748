"""What a verdict is about."""

import random
from typing import Literal

from polymath.judging import Rubric
from polymath.strict import StrictModel

Side = Literal["right", "wrong", "several"]


class Case(StrictModel):
    """Responses to one task in the order in which they are shown, and where it is known what they are worth."""

    domain: str = ""  # of the policy's own
    of: tuple[str, ...]  # the completions' names, '' for those of people
    rubric: Rubric
    task: str
    responses: tuple[str, ...]
    labels: tuple[float, ...] = ()  # from 0 to 1
    criteria: tuple[float | None, ...] = ()  # what is known of each, where a single response is known so

    def shuffled(self, rng: random.Random) -> "Case":
        """The same in another order."""
        order = rng.sample(range(len(self.of)), len(self.of))
        columns = {name: getattr(self, name) for name in ("of", "responses", "labels")}
        return self.model_copy(
            update={name: tuple(own[place] for place in order) for name, own in columns.items() if own}
        )

    def side(self) -> Side:
        """Of a single response whose worth is known, on which side of the scale it is."""
        if len(self.responses) > 1:
            return "several"
        return "right" if self.labels[0] > 0.5 else "wrong"

    def identity(self) -> tuple[str, ...]:
        """What is shown, in whatever order."""
        return (self.task, *sorted(self.responses))
