"""A whole GRPO step, by phase, of Polymath or of stock TRL: same model, prompts, lengths and optimizer settings.

    python docs/results/grpo_step.py {ours,trl} {smollm2,qwen3-1.7b,qwen3-4b,tiny} {lora,full} [--syncs N] [--set k=v]

Prints one JSON line, and appends it to $OUT/grpo_step.jsonl. Completions run to their full length (nothing stops them),
so that every arm samples and trains the same number of tokens. Qwen3 shapes have random weights. `--syncs N` delivers N
more times after the last step, timed, and counts the base's weights whose bits are others than at the start. Times are
medians of the steps after the first two, of a wall clock with the device synchronised at its ends; memory is the most
that torch allocated, vLLM's included (it lives in the same process).
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import torch
from peft import LoraConfig
from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM, TrainerCallback
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

SHAPES: dict[str, dict[str, int]] = {
    "qwen3-0.6b": {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16},
    "qwen3-1.7b": {"hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28, "num_attention_heads": 16},
    "qwen3-4b": {"hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36, "num_attention_heads": 32},
    "tiny": {"hidden_size": 128, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2},
}
# completions, tokens of each, completions of a stock micro-batch: the rows that were measured before
WORK = {"smollm2": (256, 256, 32), "qwen3-1.7b": (64, 128, 16), "qwen3-4b": (64, 128, 8), "tiny": (16, 16, 8)}
STEPS, WARM = int(os.environ.get("STEPS", "7")), 2
ON_GPU = torch.cuda.is_available()


def model_folder(name: str) -> Path:
    """The real model, or a random one of a shape, saved once."""
    real = Path(os.environ.get("SMOLLM2", "models/smollm2-135m-instruct"))
    if name == "smollm2":
        return real
    folder = Path(tempfile.gettempdir()) / name
    if not (folder / "tokenizer.json").exists():
        heads = {"num_key_value_heads": 8 if name != "tiny" else 2, "head_dim": 128 if name != "tiny" else 64}
        size = {"vocab_size": 151_936 if name != "tiny" else 49_152, "max_position_embeddings": 32_768}
        torch.manual_seed(0)
        with torch.device("cuda" if ON_GPU else "cpu"):
            model = Qwen3ForCausalLM(Qwen3Config(**SHAPES[name], **heads, **size, tie_word_embeddings=True))
        model.to(torch.bfloat16).save_pretrained(folder)
        AutoTokenizer.from_pretrained(real).save_pretrained(folder)
        del model
        torch.cuda.empty_cache()
    return folder


def share_of_memory() -> float:
    """What 24 GiB, vLLM's 30% of an H100, are of this device: so that both arms are given the same on any."""
    return round(min(1.0, 24 * 2**30 / torch.cuda.get_device_properties(0).total_memory), 3) if ON_GPU else 0.3


def now() -> float:
    """Seconds, once the device has done what it was told."""
    if ON_GPU:
        torch.cuda.synchronize()
    return time.perf_counter()


class Clock(TrainerCallback):
    """Seconds of each step, and what `phases` (name -> seconds so far) grew by in it."""

    def __init__(self) -> None:
        self.phases: dict[str, float] = {}
        self.rows: list[dict[str, float]] = []

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call`, its time added to a phase; phases within phases count in both."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            started = now()
            try:
                return call(*args, **kwargs)
            finally:
                self.phases[name] = self.phases.get(name, 0.0) + now() - started

        return timed

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.before, self.started = dict(self.phases), now()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        grown = {name: value - self.before.get(name, 0.0) for name, value in self.phases.items()}
        self.rows.append({"step": now() - self.started} | grown)
        print({name: round(value, 3) for name, value in self.rows[-1].items()}, file=sys.stderr, flush=True)
        if state.global_step == WARM and ON_GPU:
            torch.cuda.reset_peak_memory_stats()

    def medians(self) -> dict[str, float]:
        """Of the steps that count."""
        return {name: statistics.median(row.get(name, 0.0) for row in self.rows[WARM:]) for name in self.rows[-1]}


def settings(name: str, folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    """What both arms are given."""
    completions, tokens, micro = WORK[name]
    micro = options.pop("micro", micro)
    return {
        "output_dir": tempfile.mkdtemp(), "per_device_train_batch_size": micro, "num_generations": 8,
        "gradient_accumulation_steps": completions // micro, "max_completion_length": tokens, "max_steps": STEPS,
        "learning_rate": 1e-5, "bf16": True, "temperature": 1.0, "report_to": "none", "save_strategy": "no",
        "logging_steps": 1, "use_cpu": not ON_GPU, "disable_tqdm": True, "gradient_checkpointing": True,
        "remove_unused_columns": False, "scale_rewards": "none",
    } | options  # fmt: skip


def rows(folder: Path, count: int, tokens: int) -> Any:
    """Prompts of the arithmetic domain."""
    from polymath.chat import V4Format
    from polymath.data import prompt_dataset, training_rows
    from polymath.domains.arithmetic import MathDomain
    from polymath.stage import ModeConfig

    modes = {"non_think": ModeConfig(think="non_think", max_completion_length=tokens)}
    return prompt_dataset(training_rows({"math": MathDomain()}, {"math": 1}, modes, count, 0, V4Format()))


def frozen(model: Any) -> dict[str, torch.Tensor]:
    """A copy, on the host, of everything that an adapter leaves as it is."""
    return {
        name: parameter.detach().to("cpu", copy=True)
        for name, parameter in model.named_parameters()
        if not parameter.requires_grad
    }


def share_changed(model: Any, before: dict[str, torch.Tensor]) -> float:
    """Of the frozen weights, the share whose bits are others now."""
    after = dict(model.named_parameters())
    changed = sum(int((after[name].detach().cpu() != value).sum()) for name, value in before.items())
    return changed / sum(value.numel() for value in before.values())


def stock(model: Any, folder: Path, args: dict[str, Any], lora: Any, clock: Clock, name: str) -> tuple[Any, Any]:
    """TRL's trainer as it is, sampling with vLLM in its process."""
    completions, tokens, _ = WORK[name]
    args = args | {"use_vllm": True, "vllm_mode": "colocate", "vllm_gpu_memory_utilization": share_of_memory(),
                   "vllm_max_model_length": 1024, "generation_kwargs": {"ignore_eos": True}}  # fmt: skip
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=[lambda completions, **_: [float(len(text) % 7) for text in completions]],
        args=GRPOConfig(**args),
        train_dataset=rows(folder, completions // 8 * STEPS, tokens),
        processing_class=AutoTokenizer.from_pretrained(folder, padding_side="left"),
        peft_config=lora,
        callbacks=[clock],
    )
    engine = trainer.vllm_generation
    engine.sync_weights = clock.timed("sync", engine.sync_weights)
    engine.generate = clock.timed("generate", engine.generate)
    trainer._get_per_token_logps_and_entropies = clock.timed("forwards", trainer._get_per_token_logps_and_entropies)
    trainer._calculate_rewards = clock.timed("rewards", trainer._calculate_rewards)
    return trainer, engine.sync_weights


def ours(
    model: Any, folder: Path, args: dict[str, Any], lora: Any, clock: Clock, name: str, **extra: Any
) -> tuple[Any, Any]:
    """Polymath's trainer."""
    from polymath.chat import V4Format
    from polymath.engine.config import EngineConfig
    from polymath.engine.opening import open_engine
    from polymath.engine.protocol import Sampling
    from polymath.run_dir import StageDir
    from polymath.sandbox_config import SandboxConfig
    from rewards import PythonReward, open_bench
    from rewards.scorer import Scorer
    from rl.refill import Reserve
    from rl.trainer import SpecialistTrainer

    completions, tokens, _ = WORK[name]
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    config = EngineConfig(use_vllm=True, vllm_gpu_memory_utilization=share_of_memory(), vllm_max_model_length=1024)
    sys.path.insert(0, str(Path(__file__).parent))
    scorer = Scorer((PythonReward(name="grpo_step:text_length"),), open_bench(SandboxConfig()))
    stage = StageDir(Path(tempfile.mkdtemp()))
    trainer = SpecialistTrainer(
        form=V4Format(), folder=stage, sampling=Sampling(max_tokens=0, stop_token_ids=()), scorer=scorer,
        engine_for=lambda policy: open_engine(
            config, policy, folder, seed=0, at_once=completions, bf16=True
        ),
        reserve=Reserve((), 0, 0), model=model, args=GRPOConfig(**args), processing_class=tokenizer, peft_config=lora,
        train_dataset=rows(folder, completions // 8 * STEPS, tokens), callbacks=[clock], **extra,
    )  # fmt: skip
    trainer.engine.deliver = clock.timed("sync", trainer.engine.deliver)
    trainer._deliver = clock.timed("sync and check", trainer._deliver)
    trainer.engine.engine.generate = clock.timed("generate", trainer.engine.engine.generate)
    trainer._roll_out = clock.timed("roll_out", trainer._roll_out)
    trainer._prove = clock.timed("proof", trainer._prove)
    trainer._get_per_token_logps_and_entropies = clock.timed("forwards", trainer._get_per_token_logps_and_entropies)
    trainer._score = clock.timed("rewards", trainer._score)
    return trainer, lambda: trainer.engine.deliver(trainer.model)


def text_length(completions: Any) -> list[float]:
    """A reward that is not all equal, and costs nothing."""
    return [float(len(completion.content) % 7) for completion in completions]


def main() -> None:
    """Run one arm."""
    parser = argparse.ArgumentParser()
    parser.add_argument("arm", choices=["ours", "trl"])
    parser.add_argument("model", choices=[*WORK])
    parser.add_argument("weights", choices=["lora", "full"])
    parser.add_argument("--syncs", type=int, default=0)
    parser.add_argument("--compile", action="store_true", help="torch_compile of Polymath's stages")
    parser.add_argument("--set", action="append", default=[])
    given = parser.parse_args()
    from transformers import AutoModelForCausalLM

    folder = model_folder(given.model)
    options = {key: json.loads(value) for key, value in (item.split("=") for item in given.set)}
    args = settings(given.model, folder, dict(options))
    if given.compile:
        options["torch_compile"] = True
    lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="sdpa")
    clock = Clock()
    make = ours if given.arm == "ours" else stock
    if given.compile:
        make = partial(ours, torch_compile=True)
    trainer, sync = make(model, folder, args, lora if given.weights == "lora" else None, clock, given.model)
    trainer._generate_and_score_completions = clock.timed("collect", trainer._generate_and_score_completions)
    trainer.training_step = clock.timed("training_step", trainer.training_step)
    before = frozen(trainer.model) if given.weights == "lora" and given.syncs else {}
    trainer.train()
    completions, tokens, _ = WORK[given.model]
    median = clock.medians()
    result: dict[str, Any] = {
        "arm": given.arm, "model": given.model, "weights": given.weights, "options": options,
        "tokens_per_s": round(completions * tokens / median["step"]),
        "seconds": {name: round(value, 3) for name, value in median.items()},
        "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if ON_GPU else None,
    }  # fmt: skip
    if gaps := [row["sync/logprob_gap"] for row in trainer.state.log_history if "sync/logprob_gap" in row]:
        result["logprob_gap"] = {"median": statistics.median(gaps), "largest": max(gaps)}
    if given.syncs:
        times = []
        for _ in range(given.syncs):
            started = now()
            sync()
            times.append(now() - started)
        result["sync_ms"] = round(1000 * statistics.median(times), 1)
        result["syncs"] = given.syncs
        if given.weights == "lora":
            result["base_changed"] = share_changed(trainer.model, before)
    result["versions"] = {"torch": torch.__version__, "device": torch.cuda.get_device_name() if ON_GPU else "cpu"}
    line = json.dumps(result)
    with (Path(os.environ.get("OUT", ".")) / "grpo_step.jsonl").open("a") as file:
        file.write(line + "\n")
    print(line)


if __name__ == "__main__":
    main()
