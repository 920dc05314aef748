"""A whole step of on-policy distillation, by phase, of Polymath or of stock TRL, with the same work and settings.

    python docs/results/opd_step.py {ours,trl} {smollm2,qwen3-1.7b,tiny} {lora,full} [--teachers N] [--adapters]

Like grpo_step.py, whose models, prompts and clock these are. The student trains an adapter or all weights; its teachers
are whole models, or adapters on its base (`--adapters`), each with rows of its own. Stock TRL has one whole teacher.
All of them differ from the student by a little noise in their weights. Memory is the most that torch allocated, vLLM's
included. Prints one JSON line, and appends it to $OUT/opd_step.jsonl.
"""

import argparse
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from grpo_step import ON_GPU, STEPS, WORK, Clock, model_folder, rows, settings, share_of_memory
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.trainer.distillation_config import DistillationConfig
from trl.trainer.distillation_trainer import DistillationTrainer

LORA = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")


def load(folder: Path) -> Any:
    """In bfloat16, as grpo_step.py does."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="sdpa")


@torch.no_grad()
def teacher_folder(base: Path, number: int, is_adapter: bool) -> Path:
    """A teacher, saved: the base with noise in its matrices, or an adapter whose B is noise."""
    folder = Path(tempfile.gettempdir()) / f"{base.name}-teacher-{number}-{'adapter' if is_adapter else 'model'}"
    if (folder / "tokenizer.json").exists():
        return folder
    torch.manual_seed(number + 1)
    model = load(base).to("cuda" if ON_GPU else "cpu")
    model = get_peft_model(model, replace(LORA)) if is_adapter else model
    for name, parameter in model.named_parameters():
        if "lora_B" in name or (not is_adapter and parameter.ndim == 2):
            parameter += (
                torch.randn_like(parameter) * 0.05 * (model.config.initializer_range if is_adapter else parameter.std())
            )
    model.save_pretrained(str(folder))
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


def stock(model: Any, folder: Path, args: dict[str, Any], lora: Any, clock: Clock, name: str, teacher: Path) -> Any:
    """TRL's trainer as it is; weights are bfloat16, as it leaves out autocast."""
    _, tokens, _ = WORK[name]
    args = args | {"use_vllm": True, "vllm_mode": "colocate", "vllm_gpu_memory_utilization": share_of_memory(),
                   "vllm_max_model_length": 1024, "generation_kwargs": {"ignore_eos": True}}  # fmt: skip
    trainer = DistillationTrainer(
        model=model,
        teacher_model=load(teacher),
        args=DistillationConfig(**args),
        train_dataset=rows(folder, WORK[name][0] * STEPS, tokens),
        processing_class=AutoTokenizer.from_pretrained(folder, padding_side="left"),
        peft_config=lora,
        callbacks=[clock],
    )
    trainer.vllm_generation.sync_weights = clock.timed("sync", trainer.vllm_generation.sync_weights)
    trainer.vllm_generation.generate = clock.timed("generate", trainer.vllm_generation.generate)
    return trainer


def ours(
    model: Any,
    folder: Path,
    args: dict[str, Any],
    lora: Any,
    clock: Clock,
    name: str,
    teachers: list[Path],
    compiled: bool,
) -> Any:
    """Polymath's trainer."""
    from distill.teachers import load_teachers
    from distill.trainer import MultiTeacherTrainer
    from distill.watch import TeacherWatch
    from polymath.chat import V4Format
    from polymath.engine.config import EngineConfig
    from polymath.engine.opening import open_engine
    from polymath.engine.protocol import Sampling
    from polymath.run_dir import StageDir

    completions, tokens, _ = WORK[name]
    config = EngineConfig(use_vllm=True, vllm_gpu_memory_utilization=share_of_memory(), vllm_max_model_length=1024)
    folders = {f"teacher{number}": teacher for number, teacher in enumerate(teachers)}
    data = rows(folder, completions * STEPS, tokens)
    data = data.map(lambda row, place: row | {"domain": f"teacher{place % len(folders)}"}, with_indices=True)
    trainer = MultiTeacherTrainer(
        form=V4Format(), folder=StageDir(Path(tempfile.mkdtemp())), sampling=Sampling(max_tokens=0, stop_token_ids=()),
        engine_for=lambda policy: open_engine(config, policy, folder, seed=0, at_once=completions, bf16=True),
        domain_weights=dict.fromkeys(folders, 1.0), watch=TeacherWatch([*folders], None, 0.0), torch_compile=compiled,
        model=model, args=DistillationConfig(**args), train_dataset=data, peft_config=lora, callbacks=[clock],
        processing_class=AutoTokenizer.from_pretrained(folder, padding_side="left"),
    )  # fmt: skip
    trainer.teachers = load_teachers(
        trainer.model, folder.resolve(), folders, "bfloat16", trainer.accelerator.device, torch.bfloat16
    )
    trainer.engine.deliver = clock.timed("sync", trainer.engine.deliver)
    trainer._deliver = clock.timed("sync and check", trainer._deliver)
    trainer.engine.engine.generate = clock.timed("generate", trainer.engine.engine.generate)
    trainer._prove = clock.timed("proof", trainer._prove)
    trainer._scored = clock.timed("teachers", trainer._scored)
    return trainer


def main() -> None:
    """Run one arm."""
    parser = argparse.ArgumentParser()
    parser.add_argument("arm", choices=["ours", "trl"])
    parser.add_argument("model", choices=[*WORK])
    parser.add_argument("weights", choices=["lora", "full"])
    parser.add_argument("--teachers", type=int, default=1)
    parser.add_argument("--adapters", action="store_true", help="teachers are adapters on the student's base")
    parser.add_argument("--compile", action="store_true", help="torch_compile of Polymath's stages")
    parser.add_argument("--set", action="append", default=[])
    given = parser.parse_args()
    if given.arm == "trl" and (given.teachers > 1 or given.adapters):
        parser.error("stock TRL has one teacher, a model of its own")
    folder = model_folder(given.model)
    teachers = [teacher_folder(folder, number, given.adapters) for number in range(given.teachers)]
    options = {key: json.loads(value) for key, value in (item.split("=") for item in given.set)}
    args = settings(given.model, folder, dict(options))
    for of_groups in ("num_generations", "scale_rewards"):
        del args[of_groups]
    clock, lora = Clock(), LORA if given.weights == "lora" else None
    model = load(folder)
    trainer = (
        stock(model, folder, args, lora, clock, given.model, teachers[0])
        if given.arm == "trl"
        else ours(model, folder, args, lora, clock, given.model, teachers, given.compile)
    )
    generated = trainer._generate_and_score_completions
    trainer._generate_and_score_completions = clock.timed("collect", generated)
    trainer.train()
    completions, tokens, _ = WORK[given.model]
    median = clock.medians()
    line = json.dumps({
        "arm": given.arm, "model": given.model, "weights": given.weights, "teachers": given.teachers,
        "adapters": given.adapters, "compiled": given.compile, "options": options,
        "tokens_per_s": round(completions * tokens / median["step"]),
        "seconds": {name: round(value, 3) for name, value in median.items()},
        "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if ON_GPU else None,
        "versions": {"torch": torch.__version__, "device": torch.cuda.get_device_name() if ON_GPU else "cpu"},
    })  # fmt: skip
    with (Path(os.environ.get("OUT", ".")) / "opd_step.jsonl").open("a") as file:
        file.write(line + "\n")
    print(line)


if __name__ == "__main__":
    main()
