"""Exact divergence of a student's next-token distributions from a teacher's: hidden states in, one number a token out.

    logits      cap(scale * (hidden @ weight.T + bias)) / temperature, of either model
    beta 1      KL(student || teacher), the reverse KL: V4 report, equation 29
    beta 0      KL(teacher || student)
    between     beta * KL(teacher || m) + (1 - beta) * KL(student || m),  m = (1 - beta) student + beta teacher

Letters at the ends of names are sizes: N tokens, V vocabulary, H the width of either model. Logits exist for some rows
at a time, and never again: the gradient is computed where they are, in the forward pass, and stands in their place.
With a frozen head that is three matrix products in all, which any exact method needs.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, NamedTuple, cast

import torch

from distill.head import Head, HeadGradients

MIB = 2**20
ROOM = {"cuda": 224 * MIB, "cpu": 128 * MIB}  # of both models' logits
CACHED = 2**18  # logits of a model that a CPU works on at a time: its cache holds what is made of them in between
LEAST_ROWS, ALIGNED = 16, 128


class Divergence(NamedTuple):
    """`loss` is the sum of `divergence_N * token_weights_N`, and alone has a gradient; float32."""

    loss: torch.Tensor
    divergence_N: torch.Tensor
    entropy_N: torch.Tensor  # of the student, in nats
    agreement_N: torch.Tensor  # 1 where a likeliest token of the student's is one of the teacher's, else 0; float32


class Tokens(NamedTuple):
    """What is given of each token besides hidden states."""

    weights_N: torch.Tensor
    ids_N: torch.Tensor | None = None
    advantages_N: torch.Tensor | None = None

    def part(self, own: slice) -> "Tokens":
        """Some of them."""
        return Tokens(*(None if given is None else given[own] for given in self))  # pyright: ignore[reportArgumentType]


class Finish(NamedTuple):
    """What a model does to its logits after the product."""

    scale: float
    softcap: float | None


@dataclass(frozen=True)
class Terms:
    """What is the same for all tokens."""

    beta: float
    temperature: float
    student: Finish
    teacher: Finish


@dataclass(frozen=True)
class Reference:
    """Where the teacher began: the student follows it beyond where it ended (ExOPD, arXiv 2602.12125).

    log q' = extrapolation * log q + (1 - extrapolation) * log q_0 + constant      1 is the teacher as it is
    """

    states_NH: torch.Tensor
    head: Head
    extrapolation: float

    def cast(self, dtype: torch.dtype) -> "Reference":
        """With a head of products of this type."""
        return replace(self, head=_cast(self.head, dtype))

    def extrapolated(self, teacher_NV: torch.Tensor, own: slice, teacher: Finish) -> torch.Tensor:
        """Float32 logits `[N, V]` of q' for some tokens, finished but for the temperature."""
        began_NV = self.head.logits(self.states_NH[own].to(self.head.weight_VH.dtype))
        began = finished(began_NV, Finish(self.head.scale, self.head.softcap), 1.0)
        return began.lerp(finished(teacher_NV, teacher, 1.0), self.extrapolation)


# Of some tokens' logits, the student's and the teacher's `[N, V]`: divergence, entropy and agreement, float32 `[3, N]`.
# The gradient of their weighted sum is written over the student's logits
Kernel = Callable[[torch.Tensor, torch.Tensor, Terms, Tokens], torch.Tensor]


def divergence(
    student_NH: torch.Tensor,
    student: Head,
    teacher_NH: torch.Tensor,
    teacher: Head,
    token_weights_N: torch.Tensor,
    *,
    beta: float = 1.0,
    temperature: float = 1.0,
    rows: int | None = None,
    estimate: Kernel | None = None,
    tokens_N: torch.Tensor | None = None,
    advantages_N: torch.Tensor | None = None,
    reference: Reference | None = None,
    head_gradients: HeadGradients | None = None,
) -> Divergence:
    """The weighted sum over tokens, with gradient to the student's hidden states and head.

    Hidden states are `[N, H]`, of widths that may differ; both heads have the vocabulary V. `ValueError` where they
    have not, and where settings or lengths make no sense. Products are of the autocast's type, everything else is
    float32. Logits have to be finite: what no model may say has a bias of -1e4 (say), not of -inf. `rows` is how many
    tokens have logits at a time: as many as there is room for where not given. An `estimate` takes the place of the
    exact divergence, and with a `reference` the teacher is extrapolated. `tokens_N` were drawn from the student:
    estimates look at them, and `advantages_N` make them likelier or less likely, by the gradient of
    `-advantages_N * token_weights_N * log p(tokens_N)`. `head_gradients` gather what the head learns here,
    and attach it to the sum of several losses; this one has no gradient to the head then.
    """
    if student.weight_VH.shape[0] != teacher.weight_VH.shape[0]:
        raise ValueError(
            f"the student has {student.weight_VH.shape[0]} tokens and the teacher {teacher.weight_VH.shape[0]}: "
            "a divergence over the whole vocabulary needs one vocabulary"
        )
    if not (0 <= beta <= 1 and temperature > 0):
        raise ValueError(f"beta is {beta:g} and has to be within 0 and 1, temperature {temperature:g} and above 0")
    if not len(student_NH) == len(teacher_NH) == len(token_weights_N):
        raise ValueError(
            f"{len(student_NH)} states of the student, {len(teacher_NH)} of the teacher and {len(token_weights_N)} "
            "token_weights_N: each token has one of each"
        )
    if tokens_N is None and (estimate is not None or advantages_N is not None):
        raise ValueError("an estimate, and advantages_N, look at the tokens that were drawn: give tokens_N as well")
    terms = Terms(beta, temperature, Finish(student.scale, student.softcap), Finish(teacher.scale, teacher.softcap))
    rows = rows or rows_at_once(bytes_of_logits(student.weight_VH.shape[0], student_NH, reference), student_NH)
    tokens = Tokens(token_weights_N.float(), tokens_N, advantages_N)
    kernel = estimate or _kernel(student_NH)
    if not student_NH.is_cuda:
        kernel = partial(_in_parts, kernel)
    gathered = head_gradients or HeadGradients(student)
    loss, *told = cast(
        Any,
        _Divergence.apply(
            student_NH if torch.is_grad_enabled() else student_NH.detach(),
            student, tokens, teacher_NH.detach(), teacher, terms, rows, kernel, reference, gathered,
        ),
    )  # fmt: skip
    return Divergence(loss if head_gradients else gathered.attached(loss), *told)


def bytes_of_logits(vocabulary: int, hidden_NH: torch.Tensor, reference: Reference | None = None) -> int:
    """Of one token, of both models; an extrapolated teacher's are made of two models', in float32."""
    size = product_type(hidden_NH).itemsize
    return vocabulary * (2 * size if reference is None else 3 * size + 12)


def rows_at_once(each: int, hidden_NH: torch.Tensor) -> int:
    """Tokens whose logits, of so many bytes each, take the room that is given to them, or a quarter of what is free."""
    device = hidden_NH.device
    room = ROOM.get(device.type, ROOM["cpu"])
    if device.type == "cuda":
        room = min(room, _free(device, int(time.monotonic())) // 4)
    most = int(room / each)
    if most < ALIGNED:
        return max(LEAST_ROWS, most)
    # Parts as large as one another: each takes the memory of the one before
    parts = max(1, math.ceil(len(hidden_NH) / (most // ALIGNED * ALIGNED)))
    return math.ceil(len(hidden_NH) / (parts * ALIGNED)) * ALIGNED or ALIGNED


@lru_cache(maxsize=8)
def _free(device: torch.device, second: int) -> int:
    """Bytes that the device or torch's allocator has left: asked for once a second, for the answer takes its time."""
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def product_type(hidden_NH: torch.Tensor) -> torch.dtype:
    """The type that a head's product has: the autocast's where there is one."""
    kind = hidden_NH.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden_NH.dtype


class _Divergence(torch.autograd.Function):
    """The gradient to the hidden states is computed in the forward pass as well, for an incoming one of 1."""

    @staticmethod
    def forward(
        ctx: Any,
        student_NH: torch.Tensor,
        student: Head,
        tokens: Tokens,
        teacher_NH: torch.Tensor,
        teacher: Head,
        terms: Terms,
        rows: int,
        kernel: Kernel,
        reference: Reference | None,
        gathered: HeadGradients,
    ) -> tuple[torch.Tensor, ...]:
        dtype = product_type(student_NH)
        # Once, not for each chunk
        student, teacher = _cast(student, dtype), _cast(teacher, dtype)
        target = terms
        if reference is not None:
            reference, target = reference.cast(dtype), replace(terms, teacher=Finish(1.0, None))
        grad_NH = torch.empty_like(student_NH) if ctx.needs_input_grad[0] else None
        told = [tokens.weights_N.new_empty(3, 0)]
        with torch.autocast(student_NH.device.type, enabled=False):  # it would round dot products
            for start in range(0, len(student_NH), rows):
                own = slice(start, start + rows)
                hidden = student_NH[own].to(dtype)
                logits, theirs = student.logits(hidden), teacher.logits(teacher_NH[own].to(dtype))
                if reference is not None:
                    theirs = reference.extrapolated(theirs, own, terms.teacher)
                told.append(kernel(logits, theirs, target, tokens.part(own)))
                del theirs  # before there is more
                if grad_NH is not None:
                    _write_product(grad_NH[own], logits, student.weight_VH)
                gathered.add(logits, hidden)
                del logits  # before the next ones are made
            values = torch.cat(told, 1).unbind()
            loss = torch.dot(values[0], tokens.weights_N)
        ctx.save_for_backward(grad_NH)
        ctx.mark_non_differentiable(*values)
        ctx.set_materialize_grads(False)  # of the values: zeros that nothing reads
        return loss, *values

    @staticmethod
    def backward(ctx: Any, *incoming: torch.Tensor) -> Any:
        (grad_NH,) = ctx.saved_tensors
        return (None if grad_NH is None else grad_NH * incoming[0], *[None] * 9)


def _write_product(out_NH: torch.Tensor, logits_NV: torch.Tensor, weight_VH: torch.Tensor) -> None:
    """In place where the types are the same: a copy is one launch more."""
    if out_NH.dtype == weight_VH.dtype:
        torch.mm(logits_NV, weight_VH, out=out_NH)
    else:
        out_NH.copy_(logits_NV @ weight_VH)


def _cast(head: Head, dtype: torch.dtype) -> Head:
    if head.weight_VH.dtype == dtype:
        return head
    bias = None if head.bias_V is None else head.bias_V.detach().to(dtype)
    return replace(head, weight_VH=head.weight_VH.detach().to(dtype), bias_V=bias)


def _kernel(like: torch.Tensor) -> Kernel:
    """Triton where there is a GPU, else torch: the same numbers."""
    if like.is_cuda:
        from distill.divergence_triton import rows_in_triton

        return rows_in_triton
    return rows_in_torch


def _in_parts(
    kernel: Kernel, student_NV: torch.Tensor, teacher_NV: torch.Tensor, terms: Terms, tokens: Tokens
) -> torch.Tensor:
    """The same, a few rows at a time."""
    size = max(1, CACHED // student_NV.shape[1])
    parts = [slice(start, start + size) for start in range(0, len(student_NV), size)]
    return torch.cat([kernel(student_NV[own], teacher_NV[own], terms, tokens.part(own)) for own in parts], 1)


def rows_in_torch(student_NV: torch.Tensor, teacher_NV: torch.Tensor, terms: Terms, tokens: Tokens) -> torch.Tensor:
    """See `Kernel`."""
    ours = finished(student_NV, terms.student, terms.temperature)
    theirs = finished(teacher_NV, terms.teacher, terms.temperature)
    most, their_most = ours.amax(-1), theirs.amax(-1)
    both = ours + theirs
    agreement = both.amax(-1) == most + their_most  # faster than to look where either one is
    ps, pt = ours.softmax(-1), torch.softmax(theirs, -1, out=both)
    norm, their_norm = most - ps.amax(-1).log(), their_most - pt.amax(-1).log()
    entropy = norm - torch.linalg.vecdot(ps, ours)
    value, gradient = _value_and_gradient(ours, theirs, ps, pt, norm, their_norm, terms.beta)
    write_gradient(student_NV, gradient, ps, terms, tokens)
    return torch.stack([value, entropy, agreement.float()])


def _value_and_gradient(
    ours: torch.Tensor,
    theirs: torch.Tensor,
    ps: torch.Tensor,
    pt: torch.Tensor,
    norm: torch.Tensor,
    their_norm: torch.Tensor,
    beta: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`[N]` and `[N, V]`, the latter with respect to the student's finished logits; overwrites the teacher's."""
    if beta == 1:
        gap = torch.sub(ours, theirs, out=pt)
        mean = torch.linalg.vecdot(ps, gap)
        return mean - norm + their_norm, gap.sub_(mean[:, None]).mul_(ps)
    if beta == 0:
        value = torch.linalg.vecdot(pt, theirs - ours) - their_norm + norm
        return value, torch.sub(ps, pt, out=pt)
    log_ps, log_pt = ours - norm[:, None], theirs - their_norm[:, None]
    log_m = torch.logaddexp(log_ps + math.log(1 - beta), log_pt + math.log(beta))
    of_student = torch.linalg.vecdot(ps, log_ps.sub_(log_m))
    of_teacher = torch.linalg.vecdot(pt, log_pt.sub_(log_m))
    gradient = log_ps.sub_(of_student[:, None]).mul_(ps).mul_(1 - beta)
    return of_teacher.lerp(of_student, 1 - beta), gradient


def write_gradient(
    student_NV: torch.Tensor, gradient: torch.Tensor, ps: torch.Tensor, terms: Terms, tokens: Tokens
) -> None:
    """Over the student's logits: that of its finished ones `[N, V]`, and that of the tokens' advantages."""
    if tokens.advantages_N is not None:
        assert tokens.ids_N is not None
        gradient = gradient.addcmul_(ps, tokens.advantages_N[:, None])
        gradient = gradient.scatter_add_(1, tokens.ids_N[:, None], -tokens.advantages_N[:, None])
    torch.mul(gradient, slope(student_NV, terms) * tokens.weights_N[:, None], out=student_NV)


def finished(logits: torch.Tensor, finish: Finish, temperature: float) -> torch.Tensor:
    """Float32 logits, scaled, capped and divided by the temperature."""
    out = logits.float() if finish.scale == 1 else logits.float() * finish.scale
    if finish.softcap is not None:
        out = (out / finish.softcap).tanh_() * finish.softcap
    return out if temperature == 1 else out / temperature


def slope(logits: torch.Tensor, terms: Terms) -> torch.Tensor | float:
    """The derivative of the student's finished logits."""
    steepest, softcap = terms.student.scale / terms.temperature, terms.student.softcap
    if softcap is None:
        return steepest
    return steepest * (1 - (logits.float() * (terms.student.scale / softcap)).tanh_() ** 2)
