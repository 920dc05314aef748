"""The divergence's kernel for GPUs beside the one in torch, on more than one block of the vocabulary."""

import itertools

import pytest
import torch

from distill.divergence import Finish, Terms, Tokens, rows_in_torch

CASES = list(
    itertools.product((0.0, 1.0, 0.3), (1.0, 0.7), (None, 3.0), (torch.float32, torch.bfloat16), (False, True))
)


@pytest.mark.gpu
@pytest.mark.parametrize(("beta", "temperature", "softcap", "dtype", "has_advantages"), CASES)
def test_both_kernels_compute_the_same(
    beta: float, temperature: float, softcap: float | None, dtype: torch.dtype, has_advantages: bool
) -> None:
    from distill.divergence_triton import rows_in_triton

    device = "cuda" if torch.cuda.is_available() else "cpu"  # the latter in Triton's interpreter
    torch.manual_seed(0)
    student, teacher = (torch.randn(7, 9001, device=device).mul_(4).to(dtype) for _ in range(2))
    student[3] = teacher[3]
    terms = Terms(beta, temperature, Finish(0.5, softcap), Finish(1.5, softcap))
    weights = torch.rand(7, device=device)
    drawn = (torch.randint(0, 9001, (7,), device=device), torch.randn(7, device=device)) if has_advantages else ()
    tokens = Tokens(weights, *drawn)
    in_torch, in_triton = student.clone(), student.clone()
    due, got = rows_in_torch(in_torch, teacher, terms, tokens), rows_in_triton(in_triton, teacher, terms, tokens)
    assert torch.allclose(got[:2], due[:2], rtol=1e-3, atol=1e-4)
    assert torch.equal(got[2], due[2]) and got[2, 3] == 1
    rounding = 2e-2 if dtype == torch.bfloat16 else 1e-3
    assert torch.allclose(in_triton.float(), in_torch.float(), rtol=rounding, atol=1e-6)
