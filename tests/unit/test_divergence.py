"""The divergence over the whole vocabulary, beside a float64 twin that has all logits at once."""

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
)

from distill.divergence import Divergence, Reference, bytes_of_logits, divergence, rows_at_once
from distill.estimates import estimate_named
from distill.head import Head, HeadGradients

N, V, H, H_TEACHER = 13, 317, 24, 40


def twin(
    student: torch.Tensor, head: Head, teacher: torch.Tensor, teacher_head: Head, weights: torch.Tensor, **terms: float
) -> Divergence:
    """As it is written, in float64."""
    beta, temperature = terms["beta"], terms["temperature"]

    def logits(hidden: torch.Tensor, own: Head) -> torch.Tensor:
        out = hidden.double() @ own.weight_VH.double().T + (0 if own.bias_V is None else own.bias_V.double())
        out = out * own.scale
        return (out if own.softcap is None else own.softcap * torch.tanh(out / own.softcap)) / temperature

    ours, theirs = logits(student, head), logits(teacher, teacher_head).detach()
    ps, pt = ours.softmax(-1), theirs.softmax(-1)
    if beta in (0, 1):
        of, other = (ps, pt) if beta else (pt, ps)
        each = (of * (of / other).log()).sum(-1)
    else:
        m = (1 - beta) * ps + beta * pt
        each = beta * (pt * (pt / m).log()).sum(-1) + (1 - beta) * (ps * (ps / m).log()).sum(-1)
    agreement = (ours.argmax(-1) == theirs.argmax(-1)).float()
    return Divergence((each * weights.double()).sum(), each, -(ps * ps.log()).sum(-1), agreement)


def some(bias: bool, **finish: Any) -> tuple[Any, ...]:
    """Hidden states and head of a student and of a teacher, and weights."""
    torch.manual_seed(0)
    head = Head(torch.randn(V, H) / 4, torch.randn(V) if bias else None, **finish)
    teacher_head = Head(torch.randn(V, H_TEACHER) / 4, torch.randn(V) if bias else None, **finish)
    student = torch.randn(N, H)
    for leaf in (student, head.weight_VH, head.bias_V):
        if leaf is not None:
            leaf.requires_grad_()
    return student, head, torch.randn(N, H_TEACHER), teacher_head, torch.rand(N)


CASES = list(itertools.product((0.0, 1.0, 0.3), (1.0, 0.7), (None, 3.0), (False, True)))


@pytest.mark.parametrize(("beta", "temperature", "softcap", "bias"), CASES)
def test_values_and_gradients_are_the_twins(beta: float, temperature: float, softcap: float | None, bias: bool) -> None:
    student, head, *rest = some(bias, softcap=softcap, scale=0.5 if softcap else 1.0)
    leaves = [leaf for leaf in (student, head.weight_VH, head.bias_V) if leaf is not None]
    sides = []
    for compute in (divergence, twin):
        told = compute(
            student, head, *rest, beta=beta, temperature=temperature, **({"rows": 5} if compute is divergence else {})
        )
        sides.append((told, torch.autograd.grad(2 * told.loss, leaves)))  # what comes in from behind counts
    (ours, our_grads), (theirs, their_grads) = sides
    for got, due in zip(ours[:3], theirs[:3], strict=True):
        assert torch.allclose(got.double(), due, rtol=1e-4, atol=1e-5)
    assert torch.equal(ours.agreement_N, theirs.agreement_N) and ours.agreement_N.dtype == torch.float32
    for got, due in zip(our_grads, their_grads, strict=True):
        assert torch.allclose(got, due, rtol=1e-3, atol=1e-5 * due.abs().max().item())


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_one_model_agrees_with_itself(beta: float) -> None:
    student, head, *_, weights = some(True)
    told = divergence(student, head, student.detach(), head, weights, beta=beta)
    assert told.divergence_N.abs().max() < 1e-5 and told.agreement_N.all()
    (grad,) = torch.autograd.grad(told.loss, student)
    assert grad.abs().max() < 1e-5


def test_far_apart_is_no_overflow() -> None:
    """Where one gives next to nothing to what the other is sure of."""
    student, head, teacher, teacher_head, weights = some(False)
    for beta in (0.0, 0.4, 1.0):
        told = divergence(student * 1e3, head, -teacher * 1e3, teacher_head, weights, beta=beta)
        (grad,) = torch.autograd.grad(told.loss, student)
        assert told.loss.isfinite() and grad.isfinite().all()
        assert (
            (told.divergence_N <= torch.log(torch.tensor(2.5))).all() if beta == 0.4 else (told.divergence_N > 10).any()
        )


def products(profile: Any) -> int:
    return sum(event.name == "aten::mm" for event in profile.function_events)


def test_a_frozen_head_costs_three_products() -> None:
    student, head, *rest = some(False)
    counts = []
    for own in (replace(head, weight_VH=head.weight_VH.detach()), head):
        with torch.autograd.profiler.profile() as profile:
            divergence(student, own, *rest).loss.backward()
        counts.append(products(profile))
    with torch.no_grad(), torch.autograd.profiler.profile() as profile:
        divergence(student, head, *rest)
    assert [*counts, products(profile)] == [3, 4, 2]


def test_calls_may_gather_what_the_head_learns() -> None:
    """As those of a micro-batch's teachers do, so that it lies there once and not for each of them."""
    student, head, teacher, teacher_head, weights = some(True)
    leaves = [student, head.weight_VH, head.bias_V]
    parts = [(student[own], teacher[own], weights[own]) for own in (slice(5), slice(5, None))]
    gathered = HeadGradients(head)
    with torch.autograd.graph.saved_tensors_hooks(lambda own: kept.append(own.shape) or own, lambda own: own):
        kept: list[torch.Size] = []
        losses = [
            divergence(ours, head, theirs, teacher_head, each, head_gradients=gathered).loss
            for ours, theirs, each in parts
        ]
        together = torch.autograd.grad(2 * gathered.attached(sum(losses, torch.zeros(()))), leaves)
    assert kept.count(head.weight_VH.shape) == 1
    apart = torch.autograd.grad(2 * divergence(student, head, teacher, teacher_head, weights).loss, leaves)
    for one, other in zip(together, apart, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_bfloat16_is_no_worse_than_dense() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(64, 256), torch.randn(64, 256)
    teacher = student + 0.3 * teacher
    weight = torch.randn(2048, 256) / 5
    heads = Head(weight.bfloat16()), Head((weight + 0.02 * torch.randn(2048, 256)).bfloat16())
    student, teacher = student.bfloat16().requires_grad_(), teacher.bfloat16()
    each = torch.full((64,), 1 / 64)
    due = twin(student, heads[0], teacher, heads[1], each, beta=1.0, temperature=1.0)
    (true,) = torch.autograd.grad(due.loss, student)
    log_ps, log_pt = (
        (own @ head.weight_VH.T).float().log_softmax(-1) for own, head in zip((student, teacher), heads, strict=True)
    )
    dense = (log_ps.exp() * (log_ps - log_pt)).sum(-1).mean()
    (dense_grad,) = torch.autograd.grad(dense, student)
    told = divergence(student, heads[0], teacher, heads[1], each)
    (grad,) = torch.autograd.grad(told.loss, student)

    def error(got: torch.Tensor, due: torch.Tensor) -> float:
        return (got.double() - due.double()).norm().item()

    assert grad.dtype == torch.bfloat16
    assert error(grad, true) < 1.05 * error(dense_grad, true) and error(told.loss, due.loss) < 1e-3


def test_autocast_decides_the_type_of_products() -> None:
    student, head, *rest = some(False)
    with torch.autocast("cpu", torch.bfloat16):
        told = divergence(student, head, *rest)
    exact = divergence(student, head, *rest)
    assert told.loss.item() == pytest.approx((told.divergence_N * rest[-1]).sum().item(), rel=1e-6)
    assert 1e-5 < abs(told.loss.item() / exact.loss.item() - 1) < 0.02
    grads = torch.autograd.grad(told.loss, [student, head.weight_VH])
    assert all(grad.dtype == torch.float32 for grad in grads)


def test_no_tokens_are_no_loss() -> None:
    student, head, teacher, teacher_head, weights = some(False)
    told = divergence(student[:0], head, teacher[:0], teacher_head, weights[:0])
    told.loss.backward()
    assert (
        told.loss.item() == 0
        and told.divergence_N.shape == (0,)
        and student.grad is not None
        and not student.grad.any()
    )


@pytest.mark.parametrize("estimator", ["exact", "sampled_baseline", "top_k"])
def test_parts_that_fit_a_cache_say_what_all_rows_do(estimator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(cached: int) -> list[torch.Tensor]:
        monkeypatch.setattr("distill.divergence.CACHED", cached)
        student, head, teacher, teacher_head, weights = some(True)
        estimate = estimate_named(estimator, 20 if estimator == "top_k" else None)
        own = divergence(
            student, head, teacher, teacher_head, weights, rows=11, estimate=estimate,
            tokens_N=torch.arange(N) * 7, advantages_N=torch.linspace(-1, 1, N),
        )  # fmt: skip
        own.loss.backward()
        assert student.grad is not None and head.weight_VH.grad is not None
        return [*own, student.grad, head.weight_VH.grad]

    for whole, in_parts in zip(told(V * N), told(4 * V + 5), strict=True):
        assert torch.allclose(whole, in_parts, rtol=1e-5, atol=1e-6)
    assert told(1)[0].item() == pytest.approx(told(V * N)[0].item(), rel=1e-5)  # a row at a time where none fits


def test_two_vocabularies_are_refused() -> None:
    student, head, teacher, teacher_head, weights = some(False)
    with pytest.raises(ValueError, match="the student has 317 tokens and the teacher 300"):
        divergence(student, head, teacher, Head(teacher_head.weight_VH[:300]), weights)


def test_rows_fit_what_there_is() -> None:
    def told(vocabulary: int, hidden_NH: torch.Tensor) -> int:
        return rows_at_once(bytes_of_logits(vocabulary, hidden_NH), hidden_NH)

    many = torch.empty(4096, 1)
    assert told(32_768, many) == 512  # 128 MiB of float32 logits of two models
    assert told(32_768, many.bfloat16()) == 1024
    assert told(10**9, many) == 16 and told(151_936, many) == 110
    assert told(32_768, many[:1100]) == 384 and told(32_768, many[:600]) == 384  # in parts alike
    assert told(32_768, many[:0]) == told(32_768, many[:90]) == 128
    began = Reference(many, Head(torch.empty(32_768, 1)), 1.25)
    assert bytes_of_logits(32_768, many, began) == 3 * bytes_of_logits(32_768, many)  # the teacher's are made of two


SIZES: dict[str, Any] = {
    "vocab_size": 99, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
FINISHING = {
    "cohere": lambda: CohereForCausalLM(CohereConfig(**SIZES, logit_scale=0.3)),
    "granite": lambda: GraniteForCausalLM(GraniteConfig(**SIZES, logits_scaling=7.0)),
    "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**SIZES, final_logit_softcapping=0.5)),
}


@pytest.mark.parametrize("name", FINISHING)
def test_a_head_makes_the_models_logits(name: str) -> None:
    torch.manual_seed(0)
    model = FINISHING[name]().eval()
    with torch.no_grad():
        out = model(torch.arange(3, 9)[None], output_hidden_states=True)
        head, other = Head.of(model), torch.randn(1, 6, 99)
        identity = Head(torch.eye(99))
        told = divergence(out.hidden_states[-1][0], head, other[0], identity, torch.ones(6))
    due = (out.logits.softmax(-1) * (out.logits.log_softmax(-1) - other.log_softmax(-1))).sum(-1)
    assert torch.allclose(told.divergence_N, due[0], atol=1e-5)
    assert head.scale != 1 or head.softcap is not None


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"beta": 1.5}, "beta is 1.5 and has to be within 0 and 1"),
        ({"temperature": 0.0}, "temperature 0 and above 0"),
        ({"token_weights_N": torch.ones(N - 1)}, "13 states of the student, 13 of the teacher and 12 token_weights_N"),
        ({"teacher_NH": torch.randn(N + 2, H)}, "13 states of the student, 15 of the teacher"),
        ({"estimate": estimate_named("sampled", None)}, "look at the tokens that were drawn"),
        ({"advantages_N": torch.ones(N)}, "look at the tokens that were drawn"),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, Any], says: str) -> None:
    head = Head(torch.randn(V, H))
    states: dict[str, Any] = {"student_NH": torch.randn(N, H), "teacher_NH": torch.randn(N, H)}
    usual = states | {"student": head, "teacher": head, "token_weights_N": torch.ones(N)}
    with pytest.raises(ValueError, match=says):
        divergence(**(usual | given))


def test_an_estimate_of_another_name_is_not_taken_for_the_exact_divergence() -> None:
    assert estimate_named("exact", None) is None
    with pytest.raises(ValueError, match="no estimate 'topk'"):
        estimate_named("topk", 3)
