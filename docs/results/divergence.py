"""The divergence alone, forward and backward: Polymath's, TRL's, Liger's, and dense logits, on the same tensors.

    python docs/results/divergence.py [512x32768x576 ...] [--arms ours trl liger dense floor] [--beta 1]

A shape is tokens x vocabulary x hidden; the head is frozen, as with LoRA, but for Liger, whose loss has its gradient as
well. `floor` is what any exact method needs: the three products, in chunks of 1,024 tokens, and nothing else. bfloat16
on a GPU, float32 on a CPU. Each arm runs in a process of its own, and prints one JSON line: the median of its times
after some to warm up, its peak memory above its inputs (torch's on a GPU, the process's on a CPU), and how far value
and gradient are from float64's on the first 64 tokens, relative to the largest. On a GPU `ms` is between events of
calls that are queued one after the other, as a training step queues its work, and `ms_waited` by the host's clock, for
which the device is waited for after each call. Appends to $OUT/divergence.jsonl.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

ON_GPU = torch.cuda.is_available()
SHAPES = (
    ["8192x151936x1024", "8192x151936x2560", "8192x129280x4096", "2048x49152x576"]
    if ON_GPU
    else ["512x32768x576", "512x32768x2048"]
)
ARMS = ["ours", "trl", "liger", "dense", "floor"] if ON_GPU else ["ours", "trl", "dense", "floor"]
CHECKED, REPEATS, WARM = 64, 10, 2
QUEUED = 40  # calls between events
Loss = Callable[[], torch.Tensor]  # the mean over tokens


class Inputs:
    """Hidden states and heads, so that the two models differ as a student and its teacher do."""

    def __init__(self, tokens: int, vocabulary: int, hidden: int) -> None:
        device, dtype = ("cuda", torch.bfloat16) if ON_GPU else ("cpu", torch.float32)
        torch.manual_seed(0)
        like = {"device": device, "dtype": dtype}
        self.student = torch.randn(tokens, hidden, **like).requires_grad_()
        self.teacher = (self.student.detach() + 0.3 * torch.randn(tokens, hidden, **like)).to(dtype)
        self.head = torch.randn(vocabulary, hidden, **like).mul_(3 / hidden**0.5)
        self.teacher_head = self.head + torch.randn(vocabulary, hidden, **like).mul_(0.3 / hidden**0.5)


def ours(own: Inputs, beta: float) -> Loss:
    """Polymath's."""
    from distill.divergence import divergence
    from distill.head import Head

    weights = torch.full((len(own.student),), 1 / len(own.student), device=own.student.device)
    heads = Head(own.head), Head(own.teacher_head)
    return lambda: divergence(own.student, heads[0], own.teacher, heads[1], weights, beta=beta).loss


def trl(own: Inputs, beta: float) -> Loss:
    """TRL 1.16's."""
    from trl.kernels.chunked_divergence import ChunkedDivergenceFunction

    def loss() -> torch.Tensor:
        per_token, _ = ChunkedDivergenceFunction.apply(
            own.student, own.head, None, own.teacher, own.teacher_head, None, beta, 1.0
        )  # pyright: ignore
        return per_token.mean()

    return loss


def liger(own: Inputs, beta: float) -> Loss:
    """Liger's fused linear JSD; its beta is the other way round, and 1 is the reverse KL in both."""
    from liger_kernel.transformers.fused_linear_jsd import LigerFusedLinearJSD  # pyright: ignore

    fused, head = LigerFusedLinearJSD(jsd_beta=beta), own.head.clone().requires_grad_()
    return lambda: fused(own.student, head, own.teacher, own.teacher_head, None)


def dense(own: Inputs, beta: float) -> Loss:
    """Whole logits, and autograd."""

    def loss() -> torch.Tensor:
        log_ps = (own.student @ own.head.T).float().log_softmax(-1)
        log_pt = (own.teacher @ own.teacher_head.T).float().log_softmax(-1)
        return in_words(log_ps, log_pt, beta).mean()

    return loss


def in_words(log_ps: torch.Tensor, log_pt: torch.Tensor, beta: float) -> torch.Tensor:
    """The divergence of each token, as it is defined."""
    if beta in (0, 1):
        of, other = (log_ps, log_pt) if beta else (log_pt, log_ps)
        return (of.exp() * (of - other)).sum(-1)
    log_m = ((1 - beta) * log_ps.exp() + beta * log_pt.exp()).log()
    return beta * (log_pt.exp() * (log_pt - log_m)).sum(-1) + (1 - beta) * (log_ps.exp() * (log_ps - log_m)).sum(-1)


def floor(own: Inputs, beta: float) -> Loss:
    """Three products."""

    class Products(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, student: torch.Tensor) -> torch.Tensor:
            for part, teacher in zip(student.split(1024), own.teacher.split(1024), strict=True):
                logits = part @ own.head.T
                teacher @ own.teacher_head.T
                logits @ own.head
            return student.new_zeros(())

        @staticmethod
        def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
            return torch.zeros_like(own.student)

    return lambda: Products.apply(own.student)  # pyright: ignore


def main() -> None:
    """Every arm of every shape in a process of its own, or one in this one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("shapes", nargs="*", default=SHAPES)
    parser.add_argument("--arms", nargs="+", default=ARMS)
    parser.add_argument("--beta", type=float, default=1.0)
    given = parser.parse_args()
    if len(given.shapes) * len(given.arms) == 1:
        print(json.dumps(measured(given.arms[0], given.shapes[0], given.beta)))
        return
    for shape in given.shapes:
        for arm in given.arms:
            command = [sys.executable, __file__, shape, "--arms", arm, "--beta", str(given.beta)]
            done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path()})
            failed = json.dumps({"arm": arm, "shape": shape, "failed": done.stderr[-300:]}) + "\n"
            line = failed if done.returncode else done.stdout
            print(line, end="", flush=True)
            with (Path(os.environ.get("OUT", ".")) / "divergence.jsonl").open("a") as file:
                file.write(line)


def path() -> str:
    """Where Polymath is."""
    return os.pathsep.join([str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")])


def measured(arm: str, shape: str, beta: float) -> dict[str, Any]:
    """One arm on one shape."""
    own = Inputs(*map(int, shape.split("x")))
    loss = globals()[arm](own, beta)
    if not ON_GPU:
        loss_of_few = globals()[arm](few(own), beta)  # imports, and threads
        loss_of_few().backward()
    before = memory(anew=True)
    waited = statistics.median([timed(loss, own) for _ in range(REPEATS)][WARM:])
    name = torch.cuda.get_device_name() if ON_GPU else f"cpu, {torch.get_num_threads()} threads"
    peak = memory() - before
    times = {"ms": queued(loss, own), "ms_waited": 1000 * waited} if ON_GPU else {"ms": 1000 * waited}
    result = {"arm": arm, "shape": shape, "beta": beta} | {key: round(value, 2) for key, value in times.items()}
    result |= {"mib_above_inputs": round(peak / 2**20)}
    if arm != "floor":
        result |= errors(few(own), globals()[arm], beta)
    return result | {"torch": torch.__version__, "device": name}


def timed(loss: Loss, own: Inputs) -> float:
    """Seconds of one forward and backward."""
    own.student.grad = None
    synchronised()
    started = time.perf_counter()
    loss().backward()
    synchronised()
    return time.perf_counter() - started


def queued(loss: Loss, own: Inputs) -> float:
    """Milliseconds of a forward and backward on the device: the median of many that it does not wait for."""
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(QUEUED + 1)]
    for mark in marks:
        own.student.grad = None
        loss().backward()
        mark.record()
    synchronised()
    return statistics.median(first.elapsed_time(second) for first, second in pairwise(marks))


def synchronised() -> None:
    """Wait for the device."""
    if ON_GPU:
        torch.cuda.synchronize()


def memory(anew: bool = False) -> int:
    """The most bytes until now; from what there is at present, where `anew`."""
    if ON_GPU:
        if anew:
            torch.cuda.reset_peak_memory_stats()
        return torch.cuda.max_memory_allocated()
    if anew:
        Path("/proc/self/clear_refs").write_text("5")
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


def few(own: Inputs) -> Inputs:
    """The first tokens, with a gradient of their own."""
    part = object.__new__(Inputs)
    part.student, part.teacher = own.student.detach()[:CHECKED].clone().requires_grad_(), own.teacher[:CHECKED]
    part.head, part.teacher_head = own.head, own.teacher_head
    return part


def errors(own: Inputs, make: Callable[[Inputs, float], Loss], beta: float) -> dict[str, float]:
    """Relative to float64."""
    loss = make(own, beta)()
    loss.backward()
    assert own.student.grad is not None
    gradient, own.student.grad = own.student.grad, None
    student = own.student.detach().double().requires_grad_()
    log_ps, log_pt = (
        (states @ head.double().T).log_softmax(-1)
        for states, head in ((student, own.head), (own.teacher.double(), own.teacher_head))
    )
    true = in_words(log_ps, log_pt, beta).mean()
    (due,) = torch.autograd.grad(true, student)
    return {
        "error_of_value": float(f"{abs(loss.item() / true.item() - 1):.2g}"),
        "error_of_gradient": float(f"{((gradient.double() - due).abs().max() / due.abs().max()).item():.2g}"),
    }


if __name__ == "__main__":
    main()
