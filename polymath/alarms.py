"""What is told of a stage that goes wrong; no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Alarm:
    """What is seen at a step, in the units of the metric, and what to do about it."""

    name: str
    step: int
    of: str | None  # the think mode, the teacher or the domain, where it is one's
    value: float
    bound: float
    message: str


class Watch(Protocol):
    """What is remembered follows from the metrics alone: after a resume, feed those of `metrics.jsonl` again."""

    def feed(self, step: int, metrics: Mapping[str, float]) -> list[Alarm]:
        """Take one line of metrics, in the order of steps, and return the alarms that begin with it."""
        ...
