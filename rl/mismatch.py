"""What engine and learner disagree about: the correction for it, and its measure.

The engine drew tokens from pi_engine, the loss is of pi_learner. `vllm_importance_sampling_mode` of TRL's GRPO:

    token_*      ratio_t = pi_learner(t) / pi_engine(t), one a token
    sequence_*   their product, one a completion
    *_truncate   clamped to [clip_min, clip_max];  *_mask  0 where outside of it
"""

import math

import torch

from rl.config import Mode


def importance_ratio(
    learner_BT: torch.Tensor,
    engine_BT: torch.Tensor,
    mask_BT: torch.Tensor,
    mode: Mode,
    clip_min: float | None,
    clip_max: float | None,
) -> torch.Tensor:
    """The weight of each token's loss, `[B, T]`, or of each completion's, `[B, 1]`; log-probabilities in nats."""
    difference = (learner_BT - engine_BT) * mask_BT
    if mode.startswith("sequence"):
        difference = difference.sum(-1, keepdim=True)
    ratio = difference.exp()
    low, high = clip_min or 0.0, math.inf if clip_max is None else clip_max
    if mode.endswith("truncate"):
        return ratio.clamp(low, high)
    return ratio.where((ratio >= low) & (ratio <= high), 0.0)


def kept_logprobs(
    hidden_NH: torch.Tensor, weight_VH: torch.Tensor, tokens_N: torch.Tensor, kept_NK: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability and entropy `[N]` within the support that was kept when sampling (V3.2, Keep Sampling Mask).

    `kept_NK` has the ids of each token's support, -1 where it is smaller than K. Rows of the head are gathered for
    these ids alone: logits of the whole vocabulary are never computed.
    """
    inside_NK = kept_NK >= 0
    rows_NKH = weight_VH[kept_NK.clamp(min=0)]
    logits_NK = torch.einsum("nh,nkh->nk", hidden_NH, rows_NKH.to(hidden_NH.dtype)).float() / temperature
    logprobs_NK = logits_NK.masked_fill(~inside_NK, -torch.inf).log_softmax(-1)
    chosen_NK = (kept_NK == tokens_N[:, None]) & inside_NK
    entropy_N = -(logprobs_NK.exp() * logprobs_NK.masked_fill(~inside_NK, 0.0)).sum(-1)
    return logprobs_NK.masked_fill(~chosen_NK, 0.0).sum(-1), entropy_N
