"""What a merge does with numbers: tensors of several models in, one out.

    linear            sum_i w_i theta_i / sum_i w_i
    task_arithmetic   theta_0 + sum_i w_i (theta_i - theta_0)                                     (arXiv 2212.04089)
    ties              theta_0 + the mean of w_i d_i over those whose sign is that of sum_i d_i,
                      where d_i is theta_i - theta_0, of which the largest `density` are kept     (arXiv 2306.01708)
    dare_linear       theta_0 + sum_i w_i d_i, where d_i keeps `density` at random, divided by it (arXiv 2311.03099)
    dare_ties         the mean of `ties` of the d_i of `dare_linear`

Each is PEFT's function. It trims within each parameter, where the paper of TIES trims over the whole model at once.
"""

from collections.abc import Sequence

import torch
from peft.utils.merge_utils import dare_linear, dare_ties, task_arithmetic, ties

from distill.merge_config import Method

SPARSE_MERGES = {"ties": ties, "dare_linear": dare_linear, "dare_ties": dare_ties}


def combine(
    method: Method,
    origin: torch.Tensor,
    models: Sequence[torch.Tensor],
    weights: Sequence[float],
    density: float | None = None,
) -> torch.Tensor:
    """One parameter of the merged model, of the same parameter of each model and of their origin, all of one shape.

    `density` goes with the sparse methods. `dare_*` draws from torch's global generator, model after model.
    """
    weights_M = torch.tensor(weights, dtype=origin.dtype)
    if method == "linear":
        return task_arithmetic(list(models), weights_M / weights_M.sum())
    deltas = [own - origin for own in models]
    if method == "task_arithmetic":
        return origin + task_arithmetic(deltas, weights_M)
    assert density is not None
    return origin + SPARSE_MERGES[method](deltas, weights_M, density)


def delta_weights(method: Method, weights: Sequence[float]) -> tuple[float, list[float]]:
    """How much of the origin's difference from a common base, and of each model's, is in the merged one's.

    For the two methods that are linear in these: `linear`, where the origin has no part, and `task_arithmetic`.
    """
    if method == "linear":
        return 0.0, [weight / sum(weights) for weight in weights]
    return 1.0 - sum(weights), list(weights)
