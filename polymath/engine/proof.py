"""Proof that the engine samples what the learner holds: both say how likely the tokens were that were just sampled.

    gap   = mean over some sampled tokens of |log p_engine - log p_learner|, in nats
    bound = max(FACTOR * the first gap of the stage, the noise of the engine's type)

An adapter that did not arrive, arrived in part or is not asked for by its name changes likelihoods by far more than
rounding does. Rivals' users lost months to rollouts of an old policy, which no loss curve shows.
"""

from dataclasses import dataclass

import torch

FACTOR = 5.0
NOISE = {torch.float32: 2e-3, torch.bfloat16: 5e-2}  # gaps that rounding alone explains, whatever the first one was
IMPOSSIBLE = {torch.float32: 2e-2, torch.bfloat16: 0.3}  # a first gap so large is no rounding
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
        return cls(max(FACTOR * first_gap, NOISE[dtype]))

    def check(self, gap: float, step: int) -> None:
        """Raise `DeliveryError` where the gap of this step is larger, or no number."""
        if not gap <= self.gap:
            raise DeliveryError(
                f"sync/logprob_gap is {gap:.3g} nats at step {step}, and at most {self.gap:.3g} is rounding: the "
                "rollouts of this step are not the policy's (a stale, partial or misnamed adapter, or stale weights). "
                "Nothing was learned from them; the last checkpoint is whole, and `polymath resume` goes on from it"
            )


def mean_gap(engine: torch.Tensor, learner: torch.Tensor) -> float:
    """Mean absolute difference of log-probabilities `[N]`, in nats."""
    return (engine.double() - learner.double()).abs().mean().item()
