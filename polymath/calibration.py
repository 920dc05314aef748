"""Whether what a model says of its own answers is so: stated against verified scores, of what an `eval` stage kept."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple


class Bin(NamedTuple):
    """The answers with one stated score, from 0 to 1: what they are worth to the verifier, and how many they are."""

    stated: float
    verified: float
    n: int


def bins(samples: Iterable[Mapping[str, Any]]) -> list[Bin]:
    """By stated score, in its order; samples that state none are left out."""
    worth: dict[float, list[float]] = {}
    for sample in samples:
        if "stated" in (parts := sample.get("parts", {})):
            worth.setdefault(parts["stated"], []).append(sample["reward"])
    return [Bin(stated, sum(own) / len(own), len(own)) for stated, own in sorted(worth.items())]


def error(found: Sequence[Bin]) -> float:
    """Expected calibration error: how far stated and verified scores are apart, a mean over answers."""
    return sum(own.n * abs(own.stated - own.verified) for own in found) / sum(own.n for own in found)
