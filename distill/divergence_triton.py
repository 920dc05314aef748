"""`rows_in_torch` as one Triton kernel: a program a token, which reads its two rows of logits two or three times.

The first time gives both normalizers and what sums need none of them, the second one the JSD's sums, and the last one
writes the gradient in place. Each lane keeps sums of its own, over a few neighbouring entries of every block, and they
meet once at a row's end, so that no thread waits for another within it. The last reading goes backwards: the row's end
was read last, and is where a cache may still have it. What is the same for all tokens is compiled in.

Logarithms are to base 2 until they are told, because that is what a GPU has an instruction for.
"""

# pyright: reportMissingImports=false, reportIndexIssue=false, reportAttributeAccessIssue=false
import math

import torch
import triton
import triton.language as tl

from distill.divergence import Terms, Tokens

WARPS, PER_LANE = 32, 8
REGISTERS = 32  # of a thread: two programs share a multiprocessor then, and one computes while the other waits
LOWEST = tl.constexpr(-1e30)  # of no logit; finite, so that a lane without any entry has no NaN
LN_2 = tl.constexpr(math.log(2))


def rows_in_triton(student_NV: torch.Tensor, teacher_NV: torch.Tensor, terms: Terms, tokens: Tokens) -> torch.Tensor:
    """See `Kernel`."""
    count, vocabulary = student_NV.shape
    told = torch.empty((3, count), dtype=torch.float32, device=student_NV.device)
    beta, is_mixed = float(terms.beta), 0 < terms.beta < 1
    _rows[(count,)](
        student_NV,
        teacher_NV,
        told,
        *tokens,
        count,
        vocabulary,
        BETA=beta,
        OURS_IN_MIXTURE=math.log2(1 - beta) if is_mixed else 0.0,
        THEIRS_IN_MIXTURE=math.log2(beta) if is_mixed else 0.0,
        TEMPERATURE=float(terms.temperature),
        OUR_SCALE=float(terms.student.scale),
        OUR_CAP=float(terms.student.softcap or 0.0),
        THEIR_SCALE=float(terms.teacher.scale),
        THEIR_CAP=float(terms.teacher.softcap or 0.0),
        LANES=32 * WARPS,
        PER_LANE=PER_LANE,
        num_warps=WARPS,
        maxnreg=REGISTERS,
    )
    return told


@triton.jit
def _finished(row, at, vocabulary, SCALE: tl.constexpr, CAP: tl.constexpr, TEMPERATURE: tl.constexpr):
    """Logits to base 2, scaled, capped and divided by the temperature; the lowest behind the last one."""
    logits = tl.load(row + at, mask=at < vocabulary, other=0.0).to(tl.float32)
    if CAP > 0:
        logits = (2 * tl.sigmoid(logits * (2 * SCALE / CAP)) - 1) * (CAP / (LN_2 * TEMPERATURE))
    else:
        logits = logits * (SCALE / (LN_2 * TEMPERATURE))
    return tl.where(at < vocabulary, logits, LOWEST)


@triton.jit
def _entries(LANES: tl.constexpr, PER_LANE: tl.constexpr):
    """Places of a block's entries; neighbours belong to one lane, which reads them at once."""
    return tl.arange(0, LANES)[:, None] * PER_LANE + tl.arange(0, PER_LANE)[None, :]


@triton.jit
def _higher(most, z):
    """Each lane's most so far, what its sums up to here shrink by, and `exp(z - most)`."""
    higher = tl.maximum(most, tl.max(z, axis=1))
    return higher, tl.exp2(most - higher), tl.exp2(z - higher[:, None])


@triton.jit
def _together(most, total):
    """The most of all lanes, what each lane's sums shrink by to meet there, and the sum of their totals."""
    top = tl.max(most, axis=0)
    share = tl.exp2(most - top)
    return top, share, tl.sum(total * share, axis=0)


@triton.jit
def _mixture(log_ps, log_pt, OURS: tl.constexpr, THEIRS: tl.constexpr):
    """`log(exp(OURS) * ps + exp(THEIRS) * pt)`."""
    ours, theirs = log_ps + OURS, log_pt + THEIRS
    top = tl.maximum(ours, theirs)
    return top + tl.log2(tl.exp2(ours - top) + tl.exp2(theirs - top))


@triton.jit
def _gradient(zs, zt, norm, their_norm, of_student, BETA: tl.constexpr, OURS: tl.constexpr, THEIRS: tl.constexpr):
    """With respect to the student's finished logits; `of_student` is KL(student || teacher), or || m."""
    ps = tl.exp2(zs - norm)
    if BETA == 0:
        gradient = ps - tl.exp2(zt - their_norm)
    elif BETA == 1:
        gradient = LN_2 * ps * ((zs - zt) - (norm - their_norm + of_student))
    else:
        to_mixture = zs - norm - _mixture(zs - norm, zt - their_norm, OURS, THEIRS)
        gradient = (1 - BETA) * LN_2 * ps * (to_mixture - of_student)
    return gradient


@triton.jit
def _sums_to_mixture(
    ours, theirs, norm, their_norm, vocabulary, OURS_IN_MIXTURE: tl.constexpr,
    THEIRS_IN_MIXTURE: tl.constexpr, TEMPERATURE: tl.constexpr, OUR_SCALE: tl.constexpr, OUR_CAP: tl.constexpr,
    THEIR_SCALE: tl.constexpr, THEIR_CAP: tl.constexpr, LANES: tl.constexpr, PER_LANE: tl.constexpr,
):  # fmt: skip
    """KL(student || m) and KL(teacher || m), to base 2."""
    of_student, of_teacher = tl.zeros([LANES], tl.float32), tl.zeros([LANES], tl.float32)
    for start in range(0, vocabulary, LANES * PER_LANE):
        at = start + _entries(LANES, PER_LANE)
        log_ps = _finished(ours, at, vocabulary, OUR_SCALE, OUR_CAP, TEMPERATURE) - norm
        log_pt = _finished(theirs, at, vocabulary, THEIR_SCALE, THEIR_CAP, TEMPERATURE) - their_norm
        log_m = _mixture(log_ps, log_pt, OURS_IN_MIXTURE, THEIRS_IN_MIXTURE)
        of_student += tl.sum(tl.where(at < vocabulary, tl.exp2(log_ps) * (log_ps - log_m), 0.0), axis=1)
        of_teacher += tl.sum(tl.where(at < vocabulary, tl.exp2(log_pt) * (log_pt - log_m), 0.0), axis=1)
    return tl.sum(of_student, axis=0), tl.sum(of_teacher, axis=0)


@triton.jit
def _rows(
    student_ptr, teacher_ptr, told_ptr, weights_ptr, ids_ptr, advantages_ptr, count, vocabulary, BETA: tl.constexpr,
    OURS_IN_MIXTURE: tl.constexpr, THEIRS_IN_MIXTURE: tl.constexpr, TEMPERATURE: tl.constexpr,
    OUR_SCALE: tl.constexpr, OUR_CAP: tl.constexpr, THEIR_SCALE: tl.constexpr, THEIR_CAP: tl.constexpr,
    LANES: tl.constexpr, PER_LANE: tl.constexpr,
):  # fmt: skip
    """Value, entropy and agreement of one token into `told_ptr`, its gradient over the student's logits."""
    token = tl.program_id(0).to(tl.int64)
    ours, theirs = student_ptr + token * vocabulary, teacher_ptr + token * vocabulary
    most, their_most = tl.full([LANES], LOWEST, tl.float32), tl.full([LANES], LOWEST, tl.float32)
    total, their_total = tl.zeros([LANES], tl.float32), tl.zeros([LANES], tl.float32)
    mean, gap, their_gap, both = total, total, total, most
    for start in range(0, vocabulary, LANES * PER_LANE):
        at = start + _entries(LANES, PER_LANE)
        zs = _finished(ours, at, vocabulary, OUR_SCALE, OUR_CAP, TEMPERATURE)
        zt = _finished(theirs, at, vocabulary, THEIR_SCALE, THEIR_CAP, TEMPERATURE)
        most, shrink, part = _higher(most, zs)
        total = total * shrink + tl.sum(part, axis=1)
        mean = mean * shrink + tl.sum(part * zs, axis=1)
        gap = gap * shrink + tl.sum(part * (zs - zt), axis=1)
        their_most, shrink, part = _higher(their_most, zt)
        their_total = their_total * shrink + tl.sum(part, axis=1)
        if BETA == 0:
            their_gap = their_gap * shrink + tl.sum(part * (zt - zs), axis=1)
        both = tl.maximum(both, tl.max(zs + zt, axis=1))
    top, share, whole = _together(most, total)
    their_top, their_share, their_whole = _together(their_most, their_total)
    norm, their_norm = top + tl.log2(whole), their_top + tl.log2(their_whole)
    of_student = tl.sum(gap * share, axis=0) / whole - norm + their_norm
    value = of_student
    if BETA == 0:
        value = tl.sum(their_gap * their_share, axis=0) / their_whole - their_norm + norm
    elif BETA < 1:
        of_student, of_teacher = _sums_to_mixture(
            ours, theirs, norm, their_norm, vocabulary, OURS_IN_MIXTURE, THEIRS_IN_MIXTURE, TEMPERATURE,
            OUR_SCALE, OUR_CAP, THEIR_SCALE, THEIR_CAP, LANES, PER_LANE,
        )  # fmt: skip
        value = BETA * of_teacher + (1 - BETA) * of_student

    factor = tl.load(weights_ptr + token) * (OUR_SCALE / TEMPERATURE)
    for block in range(tl.cdiv(vocabulary, LANES * PER_LANE) - 1, -1, -1):
        at = block * (LANES * PER_LANE) + _entries(LANES, PER_LANE)
        zs = _finished(ours, at, vocabulary, OUR_SCALE, OUR_CAP, TEMPERATURE)
        zt = _finished(theirs, at, vocabulary, THEIR_SCALE, THEIR_CAP, TEMPERATURE)
        gradient = _gradient(zs, zt, norm, their_norm, of_student, BETA, OURS_IN_MIXTURE, THEIRS_IN_MIXTURE)
        if advantages_ptr is not None:
            is_own = at == tl.load(ids_ptr + token)
            gradient += tl.load(advantages_ptr + token) * (tl.exp2(zs - norm) - is_own.to(tl.float32))
        if OUR_CAP > 0:
            tanh = zs * (LN_2 * TEMPERATURE / OUR_CAP)
            gradient *= 1 - tanh * tanh
        tl.store(ours + at, (gradient * factor).to(student_ptr.dtype.element_ty), mask=at < vocabulary)
    entropy = norm - tl.sum(mean * share, axis=0) / whole
    tl.store(told_ptr + token, LN_2 * value)
    tl.store(told_ptr + count + token, LN_2 * entropy)
    tl.store(told_ptr + 2 * count + token, (tl.max(both, axis=0) == top + their_top).to(tl.float32))
