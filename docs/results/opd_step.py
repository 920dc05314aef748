"""A whole step of on-policy distillation, by phase, of Polymath or of stock TRL, with the same work and settings.

    python docs/results/opd_step.py {ours,trl} {smollm2,qwen3-1.7b,tiny} {lora,full} [--teachers N] [--adapters]
    python docs/results/opd_step.py ours ... --processes 2 [--fsdp] [--tokens FOLDER]

Like grpo_step.py, whose models, prompts and clock these are. The student trains an adapter or all weights; its teachers
are whole models, or adapters on its base (`--adapters`), each with rows of its own. Stock TRL has one whole teacher.
All of them differ from the student by a little noise in their weights. Memory is the most that torch allocated, vLLM's
included. With `--tokens` the first step learns from the tokens of an earlier run that kept them there, so that losses
can be compared. With several processes, times and memory are the first one's. Prints one JSON line, and appends it to
$OUT/opd_step.jsonl.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from grpo_step import ON_GPU, STEPS, WORK, Clock, model_folder, rows, settings, share_of_memory
from peft import LoraConfig, get_peft_model
from torch.distributed.fsdp import MixedPrecisionPolicy
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.trainer.distillation_config import DistillationConfig
from trl.trainer.distillation_trainer import DistillationTrainer

from polymath.run_dir import StageDir

RANK = int(os.environ.get("RANK", "0"))
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
    os.environ["MASTER_PORT"] = free_port()  # or a second arm on another GPU asks for the same one
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
    tokens_in: Path | None,
) -> Any:
    """Polymath's trainer."""
    from distill.teachers import ModelTeacher, ShardedTeacher, load_teachers
    from distill.trainer import MultiTeacherTrainer
    from distill.watch import TeacherWatch
    from polymath.chat import V4Format
    from polymath.engine.config import EngineConfig
    from polymath.engine.opening import open_engine
    from polymath.engine.protocol import Sampling

    completions, tokens, _ = WORK[name]
    config = EngineConfig(use_vllm=True, vllm_gpu_memory_utilization=share_of_memory(), vllm_max_model_length=1024)
    folders = {f"teacher{number}": teacher for number, teacher in enumerate(teachers)}
    data = rows(folder, completions * STEPS, tokens)
    data = data.map(lambda row, place: row | {"domain": f"teacher{place % len(folders)}"}, with_indices=True)
    kept = StageDir(tokens_in or Path(tempfile.mkdtemp()), RANK)
    kept.path.mkdir(exist_ok=True)
    trainer = MultiTeacherTrainer(
        form=V4Format(), folder=kept,
        sampling=Sampling(max_tokens=0, stop_token_ids=()),
        engine_for=lambda policy: open_engine(config, policy, folder, seed=0, at_once=completions, bf16=True),
        domain_weights=dict.fromkeys(folders, 1.0), watch=TeacherWatch([*folders], None, 0.0), torch_compile=compiled,
        model=model, args=DistillationConfig(**args), train_dataset=data, peft_config=lora, callbacks=[clock],
        processing_class=AutoTokenizer.from_pretrained(folder, padding_side="left"),
    )  # fmt: skip
    if trainer.is_fsdp_enabled:
        trainer.accelerator.state.fsdp_plugin.mixed_precision_policy = MixedPrecisionPolicy()
    trainer.teachers = load_teachers(
        trainer.model, folder.resolve(), folders, "bfloat16", trainer.accelerator.device, torch.bfloat16,
        ShardedTeacher if trainer.is_fsdp_enabled else ModelTeacher,
    )  # fmt: skip
    trainer.engine.deliver = clock.timed("sync", trainer.engine.deliver)
    trainer._deliver = clock.timed("sync and check", trainer._deliver)
    trainer.engine.engine.generate = clock.timed("generate", trainer.engine.engine.generate)
    trainer._prove = clock.timed("proof", trainer._prove)
    trainer._scored = clock.timed("teachers", trainer._scored)
    return trainer


def shared_tokens(kept: Path, completions: int, processes: int) -> Path:
    """A folder with what an earlier run of one process sampled in its first step, for each process its own."""
    folder = Path(tempfile.gettempdir()) / f"{kept.name}-{processes}"
    for rank in range(processes):
        log = StageDir(folder, rank).tokens
        log.parent.mkdir(parents=True, exist_ok=True)
        places = range(rank * completions // processes, (rank + 1) * completions // processes)
        names = {("1", str(place)) for place in places}
        lines = (kept / "tokens.jsonl").read_text().splitlines(keepends=True)
        log.write_text("".join(own for own in lines if tuple(json.loads(own)["key"].split("/")[:2]) in names))
    return folder


def free_port() -> str:
    """Of this machine."""
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return str(own.getsockname()[1])


def together(processes: int) -> int:
    """This command once more in each of the processes; what the first that failed returned."""
    world = {"WORLD_SIZE": str(processes), "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    world |= {"MASTER_PORT": free_port()}
    devices = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(processes)))).split(",")
    ranks = [
        subprocess.Popen(
            [sys.executable, *sys.argv], env=os.environ | world | {"RANK": str(rank), "CUDA_VISIBLE_DEVICES": device}
        )
        for rank, device in enumerate(devices[:processes])
    ]
    while None in (codes := [own.poll() for own in ranks]) and not any(codes):
        time.sleep(0.2)
    for own in ranks:
        own.kill()  # those that wait for one that failed
    return max(abs(code or 0) for code in codes)


def main() -> None:
    """Run one arm."""
    parser = argparse.ArgumentParser()
    parser.add_argument("arm", choices=["ours", "trl"])
    parser.add_argument("model", choices=[*WORK])
    parser.add_argument("weights", choices=["lora", "full"])
    parser.add_argument("--teachers", type=int, default=1)
    parser.add_argument("--adapters", action="store_true", help="teachers are adapters on the student's base")
    parser.add_argument("--compile", action="store_true", help="torch_compile of Polymath's stages")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--fsdp", action="store_true", help="leave each process a part of student and teachers")
    parser.add_argument("--tokens", type=Path, help="where the first run keeps its tokens for those after it")
    parser.add_argument("--set", action="append", default=[])
    given = parser.parse_args()
    if given.arm == "trl" and (given.teachers > 1 or given.adapters):
        parser.error("stock TRL has one teacher, a model of its own")
    (completions, tokens, _), folder = WORK[given.model], model_folder(given.model)
    teachers = [teacher_folder(folder, number, given.adapters) for number in range(given.teachers)]
    if given.processes > 1 and "RANK" not in os.environ:
        if given.tokens:
            shared_tokens(given.tokens, completions, given.processes)
        sys.exit(together(given.processes))
    options = {key: json.loads(value) for key, value in (item.split("=") for item in given.set)}
    args = settings(given.model, folder, dict(options))
    args["gradient_accumulation_steps"] //= given.processes
    if given.fsdp:
        args |= {"fsdp": True, "fsdp_config": {"version": 2}}
    elif given.processes > 1:
        args |= {"ddp_find_unused_parameters": False}
    tokens_in = given.tokens
    if tokens_in and given.processes > 1:
        tokens_in = Path(tempfile.gettempdir()) / f"{tokens_in.name}-{given.processes}"
    elif tokens_in:
        tokens_in.mkdir(parents=True, exist_ok=True)
    for of_groups in ("num_generations", "scale_rewards"):
        del args[of_groups]
    clock, lora = Clock(), LORA if given.weights == "lora" else None
    model = load(folder)
    trainer = (
        stock(model, folder, args, lora, clock, given.model, teachers[0])
        if given.arm == "trl"
        else ours(model, folder, args, lora, clock, given.model, teachers, given.compile, tokens_in)
    )
    generated = trainer._generate_and_score_completions
    trainer._generate_and_score_completions = clock.timed("collect", generated)
    trainer.train()
    if RANK:
        return
    median = clock.medians()
    line = json.dumps({
        "arm": given.arm, "model": given.model, "weights": given.weights, "teachers": given.teachers,
        "adapters": given.adapters, "compiled": given.compile, "options": options, "processes": given.processes,
        "fsdp": given.fsdp, "first_loss": next(own["loss"] for own in trainer.state.log_history if "loss" in own),
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
