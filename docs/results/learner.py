"""The learner alone: GRPO's loss on one micro-batch, forward, backward and optimizer step, without sampling.

    python docs/results/learner.py [qwen3-0.6b] [--tokens 16384] [--sequences 1] [--weights lora] [--steps 8]

Random weights of the shape, LoRA r16 on all linear layers, bfloat16, gradient checkpointing. Every token but each
sequence's first is trained. Prints one JSON line: tokens a second by the median step, and the most memory that torch
allocated.
"""

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path

import torch
from grpo_step import SHAPES, model_folder, now, rows
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.trainer.grpo_config import GRPOConfig

from polymath.chat import V4Format
from polymath.engine.local import LocalEngine
from polymath.engine.protocol import Sampling
from polymath.packed import compile_layers
from polymath.run_dir import StageDir
from polymath.sandbox_config import SandboxConfig
from rewards import PythonReward, open_bench
from rewards.scorer import Scorer
from rl.refill import Reserve
from rl.trainer import SpecialistTrainer


def main() -> None:
    """Measure one shape."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", nargs="?", default="qwen3-0.6b", choices=[*SHAPES])
    parser.add_argument("--tokens", type=int, default=16_384)
    parser.add_argument("--sequences", type=int, default=1)
    parser.add_argument("--weights", choices=["lora", "full"], default="lora")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--compile", action="store_true", help="torch.compile on each decoder layer")
    given = parser.parse_args()
    folder = model_folder(given.model)
    on_gpu = torch.cuda.is_available()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="sdpa")
    lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = SpecialistTrainer(
        form=V4Format(), folder=StageDir(Path(tempfile.mkdtemp())), sampling=Sampling(0, ()),
        engine_for=lambda policy: LocalEngine(policy, seed=0), reserve=Reserve((), 0, 0),
        scorer=Scorer((PythonReward(name="grpo_step:text_length"),), open_bench(SandboxConfig())), model=model,
        args=GRPOConfig(
            tempfile.mkdtemp(), bf16=True, use_cpu=not on_gpu, report_to="none", gradient_checkpointing=True,
            per_device_train_batch_size=8, max_completion_length=given.tokens, remove_unused_columns=False,
        ),
        processing_class=AutoTokenizer.from_pretrained(folder, padding_side="left"),
        peft_config=lora if given.weights == "lora" else None, train_dataset=rows(folder, 8, 16),
    )  # fmt: skip
    trainer.model.gradient_checkpointing_enable()
    trainer.model.enable_input_require_grads()
    trainer.model.train()
    trainer.create_optimizer()
    if given.compile:
        compile_layers(trainer.model)
    trainer.current_gradient_accumulation_steps = 1
    device, each = trainer.model.device, given.tokens // given.sequences
    torch.manual_seed(0)
    ids = torch.randint(0, 49_000, (given.sequences, each), device=device)
    mask = torch.ones_like(ids)
    batch = {
        "prompt_ids": ids[:, :1], "prompt_mask": mask[:, :1], "completion_ids": ids[:, 1:],
        "completion_mask": mask[:, 1:], "tool_mask": mask[:, 1:], "num_items_in_batch": mask[:, 1:].sum(),
        "advantages": torch.linspace(-1, 1, given.sequences, device=device) + 0.5,
        "sampling_per_token_logps": torch.full_like(ids[:, 1:], -12, dtype=torch.float32),
    }  # fmt: skip
    times = []
    for step in range(given.steps):
        if step == 2 and on_gpu:
            torch.cuda.reset_peak_memory_stats()
        started = now()
        trainer.compute_loss(trainer.model, batch).backward()
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()
        times.append(now() - started)
    seconds = statistics.median(times[2:])
    line = json.dumps({
        "learner": given.model, "weights": given.weights, "tokens": given.tokens, "sequences": given.sequences,
        "compiled": given.compile,
        "seconds": round(seconds, 3), "tokens_per_s": round(given.tokens / seconds),
        "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if on_gpu else None,
        "versions": {"torch": torch.__version__, "device": torch.cuda.get_device_name() if on_gpu else "cpu"},
    })  # fmt: skip
    with (Path(os.environ.get("OUT", ".")) / "learner.jsonl").open("a") as file:
        file.write(line + "\n")
    print(line)


if __name__ == "__main__":
    main()
