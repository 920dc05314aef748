"""Proof that the engine samples what the learner holds: both say how likely the tokens were that were just sampled.

    gap   = mean over some sampled tokens of |log p_engine - log p_learner|, in nats
    bound = FACTOR * the first gap of the stage, at least the noise of the engine's type, at most CAP * what is possible

That tells another model, template or scaling, and an adapter of long ago. A single small step moves likelihoods by less
than rounding does: therefore what the engine's buffers hold is compared as well, to the bit, where they can be read.
Rivals' users lost months to rollouts of an old policy, which no loss curve shows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from polymath.engine.protocol import Engine, Request, Sample, Sampling
from polymath.engine.wal import LoggedEngine
from polymath.packed import logits_of_ends, without_dropout

FACTOR = 5.0
NOISE = {torch.float32: 2e-3, torch.bfloat16: 5e-2}  # gaps that rounding alone explains, whatever the first one was
IMPOSSIBLE = {torch.float32: 2e-2, torch.bfloat16: 0.3}  # a first gap so large is no rounding
CAP = 1.5  # of what is possible at first: the next gap is another one
PROBES, PROBE_TOKENS = 4, 32  # samples that are compared, and the most tokens of each


class DeliveryError(RuntimeError):
    """The engine does not sample the policy that was delivered."""


@dataclass(frozen=True)
class Bound:
    """The largest gap that counts as rounding."""

    gap: float

    @classmethod
    def calibrated(cls, first_gap: float, dtype: torch.dtype) -> "Bound":
        """From the first gap of a stage."""
        if not first_gap <= IMPOSSIBLE[dtype]:
            raise DeliveryError(
                f"sync/logprob_gap is {first_gap:.3g} nats at the first delivery: engine and learner hold different "
                "weights, or the engine does not know the model (look for another attention, scaling or template)"
            )
        return cls(min(max(FACTOR * first_gap, NOISE[dtype]), CAP * IMPOSSIBLE[dtype]))

    def check(self, gap: float, step: int) -> None:
        """Raise `DeliveryError` where the gap of this step is larger, or no number."""
        if not gap <= self.gap:
            raise DeliveryError(
                f"sync/logprob_gap is {gap:.3g} nats at step {step}, and at most {self.gap:.3g} is rounding: the "
                "rollouts of this step are not the policy's (a stale, partial or misnamed adapter, or stale weights). "
                "Nothing was learned from them; the last checkpoint is whole, and `polymath resume` goes on from it"
            )


def prove(engine: Engine, policy: Any, prompts: Sequence[list[int]], *, bf16: bool) -> float:
    """Sample some tokens after a few of the prompts; the gap, or `DeliveryError` where it is no rounding."""
    sampling = Sampling(PROBE_TOKENS, ())
    requests = [Request(f"proof/{place}", ids, sampling) for place, ids in enumerate(prompts[:PROBES])]
    check_arrival(engine, policy, "for an evaluation")
    gap = mean_gap(policy, list(zip(requests, engine.generate(requests), strict=True)), bf16=bf16)
    Bound.calibrated(gap, torch.bfloat16 if bf16 else torch.float32)
    return gap


def check_arrival(engine: Engine | LoggedEngine, policy: Any, when: str) -> None:
    """Raise `DeliveryError` where the engine's own weights are seen to be others than the policy's."""
    if what := engine.difference(policy):
        raise DeliveryError(
            f"the policy that was delivered {when} is not what the engine samples from; the first difference: {what}. "
            "Nothing was sampled from it; `polymath resume` goes on before it"
        )


def probed(count: int) -> range:
    """The places, of so many samples, that are compared."""
    return range(0, count, max(1, count // PROBES))[:PROBES]


def mean_gap(learner: Any, drawn: Sequence[tuple[Request, Sample]], *, bf16: bool) -> float:
    """Mean absolute difference of log-probabilities in nats, over the first tokens of a few samples that have them."""
    told = [(request, sample.until(PROBE_TOKENS)) for request, sample in drawn if sample.logprobs]
    probes = [told[place] for place in probed(len(told))]
    engine = torch.tensor([value for _, sample in probes for value in sample.logprobs])
    return (engine - _learner_logprobs(learner, probes, bf16).cpu()).abs().mean().item()


@torch.no_grad()
def _learner_logprobs(model: Any, probes: Sequence[tuple[Request, Sample]], bf16: bool) -> torch.Tensor:
    """Log-probabilities `[N]` of the samples' tokens by the learner's own forward."""
    rows = [request.prompt_ids + sample.ids for request, sample in probes]
    with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16), without_dropout(model):
        logits = logits_of_ends(model, rows, [len(sample.ids) for _, sample in probes]).float()
    tokens = torch.tensor([token for _, sample in probes for token in sample.ids], device=model.device)
    sampling = probes[0][0].sampling
    logits = logits / sampling.temperature
    if sampling.truncates():
        outside = torch.ones_like(logits, dtype=torch.bool)
        for place, kept in enumerate(kept for _, sample in probes for kept in sample.kept or []):
            outside[place, kept] = False
        logits = logits.masked_fill(outside, -torch.inf)
    return logits.log_softmax(-1).gather(1, tokens[:, None])[:, 0]
