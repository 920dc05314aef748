"""Estimates of the reverse KL against the exact one: what they are in the mean, and what their noise is."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from distill.config import OpdConfig
from distill.divergence import divergence
from distill.estimates import estimate_named
from distill.head import Head

V, H = 37, 8


def case(scale: float = 1.0, softcap: float | None = None) -> tuple[torch.Tensor, Head, torch.Tensor, Head]:
    torch.manual_seed(3)
    student, teacher = torch.randn(1, H), torch.randn(1, H)
    return (
        student,
        Head(torch.randn(V, H), None, scale, softcap),
        teacher,
        Head(torch.randn(V, H), None, scale, softcap),
    )


def of_every_token(name: str | None, temperature: float = 1.0, **given: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Values `[V]` and gradients `[V, H]`, were each token the one that was drawn."""
    student, head, teacher, teacher_head = case(**given)
    student = student.expand(V, H).clone().requires_grad_()
    told = divergence(
        student, head, teacher.expand(V, H), teacher_head, torch.ones(V), temperature=temperature,
        estimate=estimate_named(name or "exact", 5), tokens_N=torch.arange(V),
    )  # fmt: skip
    told.loss.backward()
    assert student.grad is not None
    return told.divergence_N, student.grad


def probabilities(temperature: float = 1.0, scale: float = 1.0, softcap: float | None = None) -> torch.Tensor:
    student, head, _, _ = case()
    logits = head.logits(student)[0] * scale
    logits = logits if softcap is None else softcap * (logits / softcap).tanh()
    return (logits / temperature).softmax(0)


@pytest.mark.parametrize("name", ["sampled", "sampled_baseline"])
@pytest.mark.parametrize("given", [{}, {"scale": 0.5, "softcap": 2.0, "temperature": 0.7}])
def test_a_sampled_estimate_is_exact_in_the_mean(name: str, given: dict[str, Any]) -> None:
    p = probabilities(**given)
    (exact, due), (values, gradients) = of_every_token(None, **given), of_every_token(name, **given)
    assert (p @ values).item() == pytest.approx(exact[0].item(), rel=1e-4)
    assert torch.allclose(p @ gradients, due[0], atol=1e-5)
    assert not torch.allclose(gradients[0], due[0], atol=1e-2)


@pytest.mark.parametrize("name", ["exact", "sampled", "sampled_baseline", "top_k"])
@pytest.mark.parametrize("finish", [{}, {"scale": 0.5, "softcap": 2.0}])
def test_advantages_make_tokens_likelier_by_as_much(name: str, finish: dict[str, Any]) -> None:
    student, head, teacher, teacher_head = case(**finish)
    student = student.expand(3, H).clone().requires_grad_()
    tokens, advantages, weights = (
        torch.tensor([0, 5, 36]),
        torch.tensor([1.0, -2.0, 0.5]),
        torch.tensor([0.5, 1.0, 2.0]),
    )
    grads = []
    for given in (None, advantages):
        told = divergence(
            student, head, teacher.expand(3, H), teacher_head, weights, temperature=0.7, tokens_N=tokens,
            estimate=estimate_named(name, 5), advantages_N=given,
        )  # fmt: skip
        grads += torch.autograd.grad(told.loss, student)
    logits = head.logits(student) * head.scale
    logits = logits if head.softcap is None else head.softcap * (logits / head.softcap).tanh()
    logprobs = (logits / 0.7).log_softmax(-1)[torch.arange(3), tokens]
    (due,) = torch.autograd.grad(-(weights * advantages * logprobs).sum(), student)
    assert torch.allclose(grads[1] - grads[0], due, atol=1e-5)


def test_the_baseline_takes_noise_away() -> None:
    p = probabilities()
    (_, plain), (_, with_baseline) = of_every_token("sampled"), of_every_token("sampled_baseline")
    plain, with_baseline = ((p @ (own - p @ own).square()).sum() for own in (plain, with_baseline))
    assert with_baseline < 0.8 * plain


def test_top_k_is_what_autograd_says() -> None:
    student, head, teacher, teacher_head = case()
    student = student.double().requires_grad_()
    p = (student @ head.weight_VH.double().T)[0].softmax(0)
    q = (teacher @ teacher_head.weight_VH.T)[0].double().softmax(0)
    top = q.topk(5).indices
    due = (p * (p / q).log() - p + q)[top].sum()
    due.backward()
    values, gradients = of_every_token("top_k")
    assert values[0].item() == pytest.approx(due.item(), rel=1e-4)
    assert student.grad is not None and torch.allclose(gradients[0], student.grad[0].float(), atol=1e-5)


def test_top_k_is_least_where_both_agree_and_exact_over_all() -> None:
    """A sum over some tokens alone is below 0 where the student avoids them."""
    student, head, teacher, teacher_head = case()
    same = divergence(
        student, head, student, head, torch.ones(1), estimate=estimate_named("top_k", 5), tokens_N=torch.zeros(1).long()
    )
    assert same.loss.item() == pytest.approx(0, abs=1e-6)
    for seed in range(20):
        torch.manual_seed(seed)
        other = divergence(
            torch.randn(1, H), head, teacher, teacher_head, torch.ones(1),
            estimate=estimate_named("top_k", 5), tokens_N=torch.zeros(1).long(),
        )  # fmt: skip
        assert other.loss > 0
    exact = divergence(student, head, teacher, teacher_head, torch.ones(1))
    whole = divergence(
        student, head, teacher, teacher_head, torch.ones(1), estimate=estimate_named("top_k", V),
        tokens_N=torch.zeros(1).long(),
    )  # fmt: skip
    assert whole.loss.item() == pytest.approx(exact.loss.item(), rel=1e-4)
    assert torch.equal(whole.agreement_N, exact.agreement_N)
    assert whole.entropy_N.item() == pytest.approx(exact.entropy_N.item(), rel=1e-4)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"estimator": "top_k"}, "teacher_top_k .* belongs to estimator"),
        ({"teacher_top_k": 8}, "teacher_top_k .* belongs to estimator"),
        ({"estimator": "sampled", "beta": 0.5}, "is of the reverse KL"),
        ({"estimator": "sampled", "temperature": 0.7}, "drawn from the policy as it is"),
        ({"estimator": "sampled_baseline", "top_k": 20}, "drawn from the policy as it is"),
    ],
)
def test_what_makes_no_estimate_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        OpdConfig.model_validate({"kind": "opd", "teacher_models": {"math": "a"}, "max_steps": 1} | given)
