"""Estimates of the reverse KL that look at less than the vocabulary: what others learn from, to be compared.

    sampled             r = log p(y) - log q(y) of the token y that was drawn; the gradient is (r - b) * grad log p(y)
    sampled, b = 0      what the V4 report rejects (after equation 29): unbiased, and mostly noise
    sampled_baseline    b = KL(p || q), a control variate in closed form (vOPD, arXiv 2605.07865): unbiased, less noise
    top_k               sum over the teacher's k likeliest tokens of  p log(p / q) - p + q  (MOPD, arXiv 2606.30406)

p is the student's distribution and q the teacher's. Known traps: where r itself is derived, its expected gradient is 0;
a divergence that is subtracted from an advantage is the same for every action, and teaches none; a sum over some tokens
alone, without `- p + q`, is smallest where the student avoids them, not where both agree.
"""

from functools import partial

import torch

from distill.divergence import Kernel, Terms, Tokens, finished, write_gradient


def estimate_named(name: str, teacher_top_k: int | None) -> Kernel | None:
    """The estimate that a recipe names; None for the exact divergence."""
    match name:
        case "sampled":
            return partial(sampled, has_baseline=False)
        case "sampled_baseline":
            return partial(sampled, has_baseline=True)
        case "top_k":
            assert teacher_top_k is not None
            return partial(top_k, k=teacher_top_k)
        case "exact":
            return None
    raise ValueError(f"no estimate {name!r}: there are exact, sampled, sampled_baseline and top_k")


def sampled(
    student_NV: torch.Tensor, teacher_NV: torch.Tensor, terms: Terms, tokens: Tokens, *, has_baseline: bool
) -> torch.Tensor:
    """See above, and `Kernel`."""
    assert tokens.ids_N is not None
    log_ps, log_pt = _logprobs(student_NV, teacher_NV, terms)
    ps, at_N1 = log_ps.exp(), tokens.ids_N[:, None]
    ratio_N = (log_ps - log_pt).gather(1, at_N1)[:, 0]
    noise_N = ratio_N - torch.linalg.vecdot(ps, log_ps - log_pt) if has_baseline else ratio_N
    gradient = (ps * -noise_N[:, None]).scatter_add_(1, at_N1, noise_N[:, None])
    write_gradient(student_NV, gradient, ps, terms, tokens)
    return _told(ratio_N, log_ps, log_pt)


def top_k(student_NV: torch.Tensor, teacher_NV: torch.Tensor, terms: Terms, tokens: Tokens, *, k: int) -> torch.Tensor:
    """See above, and `Kernel`."""
    log_ps, log_pt = _logprobs(student_NV, teacher_NV, terms)
    ps = log_ps.exp()
    log_q, ids_NK = log_pt.topk(min(k, log_pt.shape[1]))
    log_p = log_ps.gather(1, ids_NK)
    parts_NK = log_p.exp() * (log_p - log_q)
    gradient = (ps * -parts_NK.sum(1, keepdim=True)).scatter_add_(1, ids_NK, parts_NK)
    write_gradient(student_NV, gradient, ps, terms, tokens)
    return _told((parts_NK - log_p.exp() + log_q.exp()).sum(1), log_ps, log_pt)


def _logprobs(student_NV: torch.Tensor, teacher_NV: torch.Tensor, terms: Terms) -> tuple[torch.Tensor, torch.Tensor]:
    ours = finished(student_NV, terms.student, terms.temperature).log_softmax(-1)
    return ours, finished(teacher_NV, terms.teacher, terms.temperature).log_softmax(-1)


def _told(value_N: torch.Tensor, log_ps: torch.Tensor, log_pt: torch.Tensor) -> torch.Tensor:
    entropy_N = -torch.linalg.vecdot(log_ps.exp(), log_ps)
    return torch.stack([value_N, entropy_N, (log_ps.argmax(-1) == log_pt.argmax(-1)).float()])
