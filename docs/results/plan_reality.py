"""`polymath plan --calibrate` beside `polymath run`: memory and time that were told, and that it then took.

    SMOLLM2=models/smollm2-135m-instruct python docs/results/plan_reality.py --warm [--only NAME ...]
    python docs/results/plan_reality.py --only tiny-sft tiny-grpo-vllm      # a rehearsal on a CPU
    python docs/results/plan_reality.py --predict docs/results/FILE.jsonl   # memory alone, planned anew, without a GPU

Each configuration is a recipe with one stage that trains, planned and run by the real command line, one after another;
several GPUs share the work by --only and CUDA_VISIBLE_DEVICES. Qwen3 shapes have random weights, so that nothing stops
what they sample. SmolLM2 stops now and then: what was planned with the longest and the shortest completions is taken in
between, at the longest mean of a step. Appends a JSON line for each to $OUT/plan_reality.jsonl, leaves out those that
have been measured there, and prints a table. What is measured:

    memory     the most that nvidia-smi saw these processes have while the stage ran, whatever else has the GPU; on a
               CPU the process's largest resident size. Beside it in the line: `reserved`, the stage's
               peak_memory_bytes, and `allocated`, the most that torch had given out, which is neither CUDA's own nor
               what lies unused
    seconds    those of the stage by its own state, start and last checkpoint included

`--warm` first trains for two steps with vLLM, which compiles a shape once a machine: the plan alone would pay for it.
"""

import argparse
import fcntl
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from polymath.hardware import gpus
from polymath.manifest import describe

GIB = 2**30
HERE = Path(__file__).resolve().parent
SCRATCH = Path(tempfile.gettempdir()) / "plan-reality"
LINES = Path(os.environ.get("OUT", ".")) / "plan_reality.jsonl"
POLYMATH = [sys.executable, "-c", "from polymath.entry import main; main()"]
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Configuration:
    """A recipe of one stage: sums of numbers of so many digits, and so many tokens that are sampled."""

    model: str
    stage: Settings
    steps: int = 24
    budget: int = 128
    digits: int = 40  # a prompt has some 115 tokens then, and with reasoning a demonstration some 360

    def recipe(self, folder: Path) -> dict[str, Any]:
        """As YAML has it, of which JSON is a part."""
        is_sft, is_opd, name = self.stage["kind"] == "sft", self.stage["kind"] == "opd", str(folder.resolve())
        numbers = {"min_operand": 10 ** (self.digits - 1), "max_operand": 10**self.digits - 1}
        usual = {"max_steps": self.steps, "save_steps": 1000, "logging_steps": 1}
        given = {"teacher_models": {"math": "teacher"}} if is_opd else {"domains": ["math"]}
        return {
            "name": "plan-reality", "model": {"name": name}, "chat": "native",
            "domains": {"math": {"kind": "math", **numbers}},
            "modes": {"high" if is_sft else "non_think": {"max_completion_length": 1024 if is_sft else self.budget}},
            "stages": ({"teacher": {"kind": "model", "name": name}} if is_opd else {})
            | {"own": usual | given | dict(self.stage)},
        }  # fmt: skip


LORA: Settings = {"lora": {"r": 16}}
QLORA: Settings = {"lora": {"r": 16, "load_in_4bit": True}}
VLLM: Settings = {"use_vllm": True, "vllm_max_model_length": 512}
BF16: Settings = {"dtype": "bfloat16"}
LESS: Settings = {"gradient_checkpointing": True}


def stage(kind: str, rows: int, *settings: Settings) -> Settings:
    """Of so many rows, or completions, a micro-batch; groups without signal are trained on as well."""
    merged: dict[str, Any] = {"kind": kind, "per_device_train_batch_size": rows}
    for own in ({"max_refills": 0} if kind == "grpo" else {}, *settings):
        merged |= own
    return merged


CONFIGURATIONS: dict[str, Configuration] = {
    "sft-smollm2-full": Configuration("smollm2", stage("sft", 32)),
    "sft-smollm2-lora": Configuration("smollm2", stage("sft", 32, LORA)),
    "sft-0.6b-full": Configuration("qwen3-0.6b", stage("sft", 16, {"gradient_accumulation_steps": 2})),
    "sft-1.7b-lora": Configuration("qwen3-1.7b", stage("sft", 8, LORA)),
    "sft-1.7b-qlora": Configuration("qwen3-1.7b", stage("sft", 8, QLORA)),
    "sft-4b-lora": Configuration("qwen3-4b", stage("sft", 16, LORA, LESS)),
    "sft-4b-qlora": Configuration("qwen3-4b", stage("sft", 8, QLORA, BF16)),
    "grpo-smollm2-lora": Configuration("smollm2", stage("grpo", 128, LORA, VLLM), 40, 48),
    "grpo-smollm2-full": Configuration("smollm2", stage("grpo", 128, VLLM), 40, 48),
    "grpo-smollm2-alone": Configuration("smollm2", stage("grpo", 64, LORA), 20, 48),
    "grpo-1.7b-lora": Configuration("qwen3-1.7b", stage("grpo", 32, LORA, VLLM), 40),
    "grpo-1.7b-full": Configuration("qwen3-1.7b", stage("grpo", 32, VLLM, BF16, LESS), 40),
    "grpo-4b-lora": Configuration("qwen3-4b", stage("grpo", 32, LORA, VLLM, BF16, LESS), 40),
    "opd-smollm2-full": Configuration("smollm2", stage("opd", 128, VLLM), 40, 48),
    "opd-1.7b-lora": Configuration("qwen3-1.7b", stage("opd", 32, LORA, VLLM), 40),
    "opd-1.7b-full": Configuration("qwen3-1.7b", stage("opd", 32, VLLM, BF16, LESS), 40),
    "tiny-sft": Configuration("tiny", stage("sft", 4), 12, digits=4),
    "tiny-grpo": Configuration("tiny", stage("grpo", 8, LORA), 8, 8, 4),
    "tiny-grpo-vllm": Configuration("tiny", stage("grpo", 8, VLLM), 8, 8, 4),
    "tiny-opd-vllm": Configuration("tiny", stage("opd", 8, LORA, VLLM), 8, 8, 4),
    "tiny-wrong": Configuration("tiny", stage("grpo", 9), 8, 8, 4),  # no whole groups: a line with an error
}


def model_folder(name: str) -> Path:
    """The one of grpo_step.py, made in a process of its own, for a model that is made takes a GPU's memory."""
    SCRATCH.mkdir(exist_ok=True)
    code = f"import grpo_step; print(grpo_step.model_folder({name!r}).resolve())"
    with (SCRATCH / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the same script on another GPU may want it too
        path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
        made = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, text=True
        )
    if made.returncode:
        raise RuntimeError(f"no model {name}")
    return Path(made.stdout.splitlines()[-1])


def shape_folder(name: str) -> Path:
    """What a plan reads of a model: all but the weights."""
    real = Path(os.environ.get("SMOLLM2", "models/smollm2-135m-instruct"))
    if name == "smollm2":
        return real
    sys.path.insert(0, str(HERE))
    from grpo_step import SHAPES
    from transformers import AutoTokenizer, Qwen3Config

    sizes: dict[str, Any] = {"num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151_936}
    if name == "tiny":
        sizes = {"num_key_value_heads": 2, "head_dim": 64, "vocab_size": 49_152}
    sizes |= SHAPES[name]
    config = Qwen3Config(**sizes, tie_word_embeddings=True)
    config.save_pretrained(SCRATCH / f"shape-{name}")
    AutoTokenizer.from_pretrained(real).save_pretrained(SCRATCH / f"shape-{name}")
    return SCRATCH / f"shape-{name}"


def polymath(command: str, recipe: Path, run: Path, *options: str) -> None:
    """Carry it out. `RuntimeError` with what it said where it leaves nothing; plans that do not fit fail as well."""
    line = [*POLYMATH, command, str(recipe), "--run-dir", str(run), *options]
    done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if not (run / ("plan.json" if command == "plan" else "report/summary.json")).exists():
        raise RuntimeError(f"{command} ended with {done.returncode}: {done.stdout}")


def ask(field: str) -> str:
    """What the driver says of the GPU that is visible."""
    query = ["nvidia-smi", "-i", gpus()[0], f"--query-gpu={field}", "--format=csv,noheader,nounits"]
    return subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()


def taken() -> int:
    """Bytes of the GPU that this process and those that it started have, by the driver."""
    own = {process.pid for process in (psutil.Process(), *psutil.Process().children(recursive=True))}
    query = ["nvidia-smi", "-i", gpus()[0], "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
    lines = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()
    sizes = [size for pid, size in (line.split(",") for line in lines) if int(pid) in own]
    return sum(map(int, sizes)) * 2**20


@contextmanager
def watched() -> Iterator[list[int]]:
    """Bytes of the GPU that our processes have: all that is seen while the context is open."""
    seen: list[int] = []
    done = threading.Event()

    def look() -> None:
        while gpus() and not done.wait(0.2):
            with suppress(subprocess.SubprocessError, ValueError, psutil.Error):  # a look that failed is one of many
                seen.append(taken())

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()


def planned(recipe: Path, run: Path, *options: str) -> dict[str, Any]:
    """Of the stage, as `plan.json` has it."""
    polymath("plan", recipe, run, *options)
    (told,) = json.loads((run / "plan.json").read_text())
    return told


def measured(recipe: Path, run: Path) -> dict[str, Any]:
    """Of the stage, once it has run."""
    with watched() as seen:
        polymath("run", recipe, run, "--overcommit")
    if gpus() and not seen:  # the stage's own figure is of the whole device
        raise RuntimeError("nvidia-smi does not say what each process has")
    (folder,) = run.glob("*-own")
    state = json.loads((folder / "stage.json").read_text())
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = step_times(run)
    return {
        "bytes": max(seen, default=state["peak_memory_bytes"]), "reserved": state["peak_memory_bytes"],
        "allocated": state.get("peak_allocated_bytes"), "seconds": state["seconds"],
        "start": state["seconds"] - sum(steps[1:]), "step": statistics.median(steps[1:]), "steps": steps,
        "length": max((own["length/mean"] for own in lines if "length/mean" in own), default=None),
    }  # fmt: skip


def compared(name: str, folder: Path, warm: bool) -> dict[str, Any]:
    """One configuration, planned and run. A large model's checkpoint is tens of gigabytes: none is left behind."""
    own, recipe = CONFIGURATIONS[name], folder / "recipe.yaml"
    recipe.write_text(json.dumps(own.recipe(model_folder(own.model)), indent=1))
    if warm and own.stage.get("use_vllm"):
        polymath("run", recipe, folder / "warm", "--overcommit", "--set", "own.max_steps=2")
        shutil.rmtree(folder / "warm")
    told = planned(recipe, folder / "plan", "--calibrate")
    calibrated = step_times(folder / "plan")
    keep_log(name, folder / "plan")
    shutil.rmtree(folder / "plan")
    found = measured(recipe, folder / "run")
    keep_log(name, folder / "run")
    return {"planned": told, "calibrated": calibrated, "measured": found}


def keep_log(name: str, run: Path) -> None:
    """What the stage said, beside the lines: with VLLM_LOGGING_LEVEL=INFO, when vLLM was at what."""
    (path,) = run.glob("*-own/log.txt")
    shutil.copy(path, LINES.parent / f"{name}-{run.name}.log")


def step_times(run: Path) -> list[float]:
    """Seconds of each step of the stage, the first one's included."""
    (path,) = run.glob("*-own/metrics.jsonl")
    lines = map(json.loads, path.read_text().splitlines())
    return [own["time/step"] for own in lines if "time/step" in own]


def bytes_told(line: Settings) -> int:
    """What was planned, at the lengths that were written."""
    told, length = line["planned"], line.get("measured", {}).get("length")
    share = min(1.0, length / CONFIGURATIONS[line["configuration"]].budget) if length else 1.0
    return int(told["bytes_at_least"] + share * (told["bytes"] - told["bytes_at_least"]))


def table(lines: Sequence[Settings]) -> str:
    """Markdown, and how many are as near as they should be."""
    rows = [
        "| configuration | planned GiB | measured GiB | ratio | planned s | measured s | ratio |",
        f"|{' --- |' * 7}",
    ]
    near = {"memory": 0, "time": 0}
    for line in lines:
        cells, found = [line["configuration"]], line.get("measured", {})
        if "error" in line:
            cells.append("failed")
            found = line = {}
        both = {
            "memory": (bytes_told(line) / GIB if line else None, found.get("bytes", 0) / GIB, 0.1),
            "time": (line.get("planned", {}).get("seconds"), found.get("seconds"), 0.25),
        }
        for name, (told, was, bound) in both.items():
            cells += [f"{own:.2f}" if own else "" for own in (told, was, told / was if told and was else None)]
            near[name] += bool(told and was and abs(told / was - 1) <= bound)
        rows.append(f"| {' | '.join(cells[:7])} |")
    count = sum("measured" in line for line in lines)
    return "\n".join([*rows, f"\nof {count}: memory within 10% in {near['memory']}, time within 25% in {near['time']}"])


def read(path: Path) -> dict[str, dict[str, Any]]:
    """The last line of each configuration."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {own["configuration"]: own for own in map(json.loads, lines)}


def predicted(name: str, line: Settings) -> dict[str, Any]:
    """A line with what a plan says now, for the GPU that it was measured on, or one of 80 GiB."""
    own, memory = CONFIGURATIONS[name], (line.get("memory") or 80 * GIB) / GIB
    with tempfile.TemporaryDirectory(dir=SCRATCH) as scratch:
        recipe = Path(scratch) / "recipe.yaml"
        recipe.write_text(json.dumps(own.recipe(shape_folder(own.model))))
        told = planned(recipe, Path(scratch) / "plan", "--gpu-memory", str(memory))
    parts = ", ".join(f"{part} {size / GIB:.2f}" for part, size in told["parts"].items())
    print(f"{name}: {told['bytes'] / GIB:.2f} GiB at {told['moment']}: {parts}", file=sys.stderr, flush=True)
    return {"configuration": name, "planned": told} | {key: line[key] for key in ("measured",) if key in line}


def tried(name: str, warm: bool) -> dict[str, Any]:
    """A configuration's line, whatever becomes of it."""
    device, memory = (ask("name"), int(ask("memory.total")) * 2**20) if gpus() else ("cpu", None)
    line: dict[str, Any] = {"configuration": name, "warm": warm, "device": device, "memory": memory}
    line["versions"] = describe([])["versions"]
    began, folder = time.perf_counter(), Path(tempfile.mkdtemp(dir=SCRATCH))
    try:
        line |= compared(name, folder, warm)
    except (RuntimeError, subprocess.SubprocessError, OSError, ValueError) as error:
        line["error"] = str(error)[-400:]
    finally:
        shutil.rmtree(folder)
    return line | {"took": round(time.perf_counter() - began, 1)}


def main() -> None:
    """Compare what was asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="+", choices=[*CONFIGURATIONS], metavar="NAME")
    parser.add_argument("--warm", action="store_true", help="train with vLLM for two steps before the plan")
    parser.add_argument(
        "--predict", type=Path, nargs="?", const=LINES, metavar="FILE", help="plan again, without a GPU"
    )
    given = parser.parse_args()
    SCRATCH.mkdir(exist_ok=True)
    names = given.only or [name for name in CONFIGURATIONS if not name.startswith("tiny")]
    if given.predict:
        known = read(given.predict)
        print(table([predicted(name, known.get(name, {})) for name in names]))
        return
    LINES.parent.mkdir(parents=True, exist_ok=True)
    for name in names:
        if "measured" in read(LINES).get(name, {}):
            continue
        line = tried(name, given.warm)
        with LINES.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(f"{name}: {line['took']} s {line.get('error', '')}", file=sys.stderr, flush=True)
    print(table([line for name, line in read(LINES).items() if name in names]))


if __name__ == "__main__":
    main()
