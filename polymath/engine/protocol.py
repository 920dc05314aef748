"""What every engine does: sample completions of token ids, each within limits of its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn and where a completion ends.

    `top_p` and `top_k` cut the distribution to a kept support: `top_k` 0 and `top_p` 1 keep all of it. Without
    `logprobs` a sample is its tokens alone, which is sooner told.
    """

    max_tokens: int
    stop_token_ids: tuple[int, ...]
    temperature: float = 1.0  # 0 is greedy
    top_p: float = 1.0
    top_k: int = 0
    logprobs: bool = True

    def truncates(self) -> bool:
        """Whether some tokens can never be drawn."""
        return self.top_p < 1 or self.top_k > 0

    def keeps(self) -> bool:
        """Whether a sample lists the tokens that could be drawn."""
        return self.logprobs and self.truncates()


@dataclass(frozen=True)
class Request:
    """One completion to sample; `key` names it in the log, and seeds it where the engine can.

    The last `written` tokens of the prompt are the completion's own: it was begun before, and is gone on with.
    """

    key: str
    prompt_ids: list[int]
    sampling: Sampling
    written: int = 0


@dataclass
class Sample:
    """What was drawn: ids, of which a stop token is the last, and what their draw was worth.

    `logprobs` are those of the distribution that was drawn from, in nats: after temperature, within the kept support.
    `kept` lists that support for each token where the sampling truncates (V3.2 report, Keep Sampling Mask). Both are
    told of requests that ask for `logprobs`.
    """

    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    kept: list[list[int]] | None = None

    def extend(self, other: "Sample") -> None:
        """Append what was drawn after this."""
        self.ids += other.ids
        self.logprobs += other.logprobs
        if other.kept is not None:
            self.kept = (self.kept or []) + other.kept

    def until(self, place: int) -> "Sample":
        """What was drawn before this place."""
        return Sample(self.ids[:place], self.logprobs[:place], None if self.kept is None else self.kept[:place])

    def after(self, place: int) -> "Sample":
        """What was drawn from this place on."""
        return Sample(self.ids[place:], self.logprobs[place:], None if self.kept is None else self.kept[place:])


# Told while sampling of what requests have so far: their places, their samples, which grow until the next telling, and
# whether these are complete
Watch = Callable[[Sequence[tuple[int, Sample, bool]]], None]
WATCH_SECONDS = 0.3  # at most so long between two tellings


class Engine(Protocol):
    """Samples from the policy that was delivered last."""

    max_length: int  # tokens of a prompt and its completion
    shares_weights: bool  # with the learner: nothing is delivered, and there is nothing to prove
    can_sleep: bool  # and so give the device's memory to the learner

    def generate(self, requests: Sequence[Request], watch: Watch | None = None) -> list[Sample]:
        """One sample a request, in order; the first call after a delivery samples the policy as delivered."""
        ...

    def deliver(self, policy: Any) -> None:
        """Sample from now on with the weights that `policy` (a PreTrainedModel or PeftModel) has at this moment."""
        ...

    def difference(self, policy: Any) -> str:
        """What the engine would sample with that `policy` does not have; '' where nothing is seen to differ."""
        ...

    def wake(self) -> None:
        """Take the device's memory back; nothing where the engine is awake."""
        ...

    def sleep(self) -> None:
        """Give the device's memory to the learner, where the engine was asked to."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...
