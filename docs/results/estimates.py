"""How far the gradients of the estimates are from the exact one's, on what a student of baselines.yaml writes.

    python docs/results/estimates.py RUN [--draws 64]

The specialist in math teaches the model that it began from, on 64 of its own completions. The tokens that an estimate
looks at are drawn anew from the student at each written position, so that its gradient is that of one step with these
contexts. Of the gradient of all weights: the noise E|g - E g|^2, and the bias |E g - exact|^2 less what is left of the
noise in the mean, both relative to |exact|^2.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from trl.trainer.utils import pad

from distill.divergence import divergence
from distill.estimates import estimate_named
from distill.head import Head
from distill.states import states_before
from polymath import models
from polymath.chat import V4Format
from polymath.data import training_rows
from polymath.engine.local import LocalEngine
from polymath.engine.protocol import Request, Sampling
from polymath.packed import use_packed_attention
from polymath.recipe import load_resolved

ESTIMATES = {"sampled": None, "sampled_baseline": None, "top_k": 64}


def batch_of(run: Path, student: Any, count: int = 64) -> dict[str, torch.Tensor]:
    """What the student writes in answer to prompts of the domain."""
    recipe = load_resolved(run / "resolved.json")
    tokenizer = models.load_tokenizer(folder(run, "format"))
    rows = training_rows({"math": recipe.domains["math"]}, {"math": 1}, recipe.modes, count, 7, V4Format())
    prompts = tokenizer([row.prompt for row in rows], add_special_tokens=False)["input_ids"]
    stop: Any = tokenizer.eos_token_id
    sampling = [Sampling(row.budget, (stop,)) for row in rows]
    requests = [Request(f"0/{i}", ids, own) for i, (ids, own) in enumerate(zip(prompts, sampling, strict=True))]
    written = [sample.ids for sample in LocalEngine(student, seed=0).generate(requests)]
    batch = {}
    for name, ids, side in (("prompt", prompts, "left"), ("completion", written, "right")):
        tensors = [torch.tensor(own) for own in ids]
        batch[f"{name}_ids"] = pad(tensors, padding_side=side)
        batch[f"{name}_mask"] = pad([torch.ones_like(own) for own in tensors], padding_side=side)
    return batch | {"tool_mask": torch.ones_like(batch["completion_mask"])}


def folder(run: Path, stage: str) -> Path:
    """Where a stage's model is."""
    (found,) = run.glob(f"[0-9][0-9]-{stage}/model")
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--draws", type=int, default=64)
    given = parser.parse_args()
    student, teacher = (models.load_model(folder(given.run, name), "float32") for name in ("format", "grpo-math"))
    batch = batch_of(given.run, student)
    for model in (student, teacher):
        use_packed_attention(model)
    with torch.no_grad():
        teacher_NH = states_before(teacher, batch)
        likely_NV = Head.of(student).logits(states_before(student, batch)).softmax(-1)
    tokens = len(teacher_NH)

    def gradient(name: str, k: int | None, tokens_N: torch.Tensor) -> torch.Tensor:
        student.zero_grad()
        divergence(
            states_before(student, batch), Head.of(student), teacher_NH, Head.of(teacher),
            torch.full((tokens,), 1 / tokens), estimate=estimate_named(name, k), tokens_N=tokens_N,
        ).loss.backward()  # fmt: skip
        return torch.cat([own.grad.flatten() for own in student.parameters() if own.grad is not None]).double()

    torch.manual_seed(0)
    draws = [likely_NV.multinomial(1)[:, 0] for _ in range(given.draws)]
    exact = gradient("exact", None, draws[0])
    lines = [["estimator", "noise", "bias", "cosine of one with the exact"], ["---"] * 4]
    for name, k in ESTIMATES.items():
        own = [gradient(name, k, tokens_N) for tokens_N in draws]
        mean = torch.stack(own).mean(0)
        noise = sum((one - mean).square().sum() for one in own) / (len(own) - 1)
        bias = ((mean - exact).square().sum() - noise / len(own)).clamp(min=0)
        cosine = torch.stack([torch.cosine_similarity(one, exact, dim=0) for one in own]).mean()
        size = exact.square().sum()
        lines.append([name, f"{(noise / size).item():.3f}", f"{(bias / size).item():.4f}", f"{cosine.item():.3f}"])
    sys.stdout.write(f"{tokens} tokens, {given.draws} draws\n")
    sys.stdout.write("".join(f"| {' | '.join(line)} |\n" for line in lines))


if __name__ == "__main__":
    main()
