"""What stages will take: counted without content as with it, and as it was measured on a GPU."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model
from torch.testing import assert_close
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, Qwen3Config, Qwen3MoeConfig
from typer.testing import CliRunner

from polymath import base
from polymath.cli import app
from polymath.engine.keys import bytes_of_keys
from polymath.models import load_tokenizer
from polymath.packed import backbone, leave_types_to_autocast
from polymath.pipeline import plan
from polymath.planning import knobs, room
from polymath.planning.calibration import STEPS, Timing, shortened, timings
from polymath.planning.counting import Alive, MicroBatch, Training, trace
from polymath.planning.estimate import needs
from polymath.planning.memory import (
    GRAPHS,
    TILE,
    HeadShape,
    Learner,
    Moment,
    fullest,
    fused_logits,
    fused_logits_on_gpu,
    learning,
)
from polymath.planning.need import GIB, Machine, Need
from polymath.recipe import Recipe, load_recipe
from polymath.run_dir import RunDir, append_line
from polymath.stage import StageJob

ROOT = Path(__file__).resolve().parents[2]
LEARNERS = ROOT / "docs/results/grpo-step-h100/learner.jsonl"
HEADS: dict[str, Any] = {"num_key_value_heads": 8, "head_dim": 128, "num_attention_heads": 16, "num_hidden_layers": 28}
SHAPES: dict[str, Any] = {
    "qwen3-0.6b": {"hidden_size": 1024, "intermediate_size": 3072, **HEADS},
    "qwen3-1.7b": {"hidden_size": 2048, "intermediate_size": 6144, **HEADS},
}
SMALL: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "head_dim": 16,
}
SMALL |= {"num_attention_heads": 4, "num_key_value_heads": 2}
GPU = Machine(True, 80 * GIB)


def lora(targets: Any = "all-linear") -> LoraConfig:
    return LoraConfig(r=16, lora_alpha=32, task_type="CAUSAL_LM", target_modules=targets)


@pytest.mark.parametrize("line", [own for own in map(json.loads, LEARNERS.open()) if not own["compiled"]], ids=str)
def test_a_learner_takes_what_it_was_measured_to_take_on_a_gpu(line: dict[str, Any]) -> None:
    config = Qwen3Config(**SHAPES[line["learner"]], vocab_size=151_936, tie_word_embeddings=True)
    rows, tokens = line["sequences"], line["tokens"]
    own = trace(
        config, Training(torch.bfloat16, lora(), True, True, True), MicroBatch(rows, tokens // rows, True, False)
    )
    _, parts = fullest(learning(own, fused_logits(tokens, config.vocab_size), accumulates=False))
    assert sum(parts.values()) / GIB == pytest.approx(line["peak_gib"], rel=0.1)


def prepared(model: Any, training: Training) -> Any:
    """As training does it."""
    if training.lora:
        model = get_peft_model(model, training.lora)
        leave_types_to_autocast(model)
    if training.checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    return model.train()


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("adapter", [None, "all-linear", ["q_proj", "v_proj"]], ids=["full", "all", "some"])
@pytest.mark.parametrize("accumulates", [False, True])
@pytest.mark.parametrize(
    "config",
    [Qwen3Config(**SMALL), Qwen3MoeConfig(**SMALL, num_experts=4, num_experts_per_tok=2)],
    ids=["dense", "moe"],
)
def test_what_is_counted_without_content_is_what_is_there_with_it(
    config: PretrainedConfig, adapter: Any, checkpointing: bool, accumulates: bool
) -> None:
    peft = None if adapter is None else lora(adapter)
    training = Training(torch.float32, peft, False, checkpointing, on_gpu=False)
    batch = MicroBatch(4, 24, packed=False, accumulates=accumulates)
    told = trace(config, training, batch)
    whole: Any = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32)
    model = prepared(whole, training)
    ids = torch.zeros(4, 24, dtype=torch.long)

    def forward() -> torch.Tensor:
        hidden: torch.Tensor = backbone(model)(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)[0]
        return hidden

    if accumulates:
        hidden = forward()
        hidden.backward(torch.ones_like(hidden))
        del hidden
    with Alive(model) as alive:
        hidden = forward()
        kept = alive.now - alive.gradients
        hidden.backward(torch.ones_like(hidden))
    assert_close(float(told.kept), float(kept), rtol=0.03, atol=0)
    assert_close(float(told.backward.total()), float(alive.fullest.total()), rtol=0.03, atol=0)
    sizes = {name: own.numel() * 4 for name, own in model.named_parameters()}
    assert told.adapter == sum(size for name, size in sizes.items() if "lora_" in name)
    assert told.weights + told.adapter == sum(sizes.values())
    assert told.trained == (told.adapter if peft else told.weights)


def test_the_fullest_moment_is_what_a_stage_takes() -> None:
    own = Learner(100, 60, 400, 0, 400, kept=1000, backward=Moment(900, 300))
    assert fullest(learning(own, 500, accumulates=False)) == (
        "loss", {"weights": 400, "optimizer": 800, "activations": 1000, "logits": 500},
    )  # fmt: skip
    moment, parts = fullest(learning(own, 100, accumulates=True))
    assert moment == "loss" and parts["gradients"] == 400
    assert fullest(learning(own, 100, accumulates=False))[0] == "backward"
    few = Learner(100, 60, 400, 0, 400, kept=10, backward=Moment(5, 300))
    assert fullest(learning(few, 0, accumulates=False))[0] == "update"
    assert own.in_four_bits().weights == 400 - 60 * 4 + 30  # what is not linear stays
    assert own.read_only(2) == 60 * 2 + 40 * 4
    head = HeadShape(100_000, 64, product=2, kept=4, trains=True)
    due = 2 * 4096 * 32_768 + 2 * 32_768 * 64 + 4 * 5000 * 64 + 4 * 100_000 * 64  # a tile, its weights, two gradients
    assert fused_logits_on_gpu(5000, head) == due and head.gradient() == 4 * 100_000 * 64
    assert fused_logits_on_gpu(10, HeadShape(100, 64, 2, 2, trains=False)) == 2 * 10 * 32_768 + 10 * 64 * (4 + 2)
    assert fused_logits(10**6, 10**6) == 2 * 4 * TILE[0] * TILE[1] and fused_logits(10, 7) == 8 * 70


# `bf16` is given, for its default is the machine's
STAGES: dict[str, Any] = {
    "tuned": {"kind": "sft", "max_steps": 9, "per_device_train_batch_size": 8, "bf16": False},
    "math": {"kind": "grpo", "max_steps": 9, "per_device_train_batch_size": 16, "use_vllm": True, "bf16": True},
    "merged": {"kind": "opd", "max_steps": 9, "teacher_models": {"sums": "tuned", "more": "math"}, "bf16": False},
    "scores": {"kind": "eval", "models": ["merged"], "domains": ["sums"], "num_prompts": 700, "bf16": False},
}


@pytest.fixture(scope="module")
def job_for(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Recipe, list[StageJob]]]:
    folder = tmp_path_factory.mktemp("planning")

    def make(**settings: dict[str, Any]) -> tuple[Recipe, list[StageJob]]:
        stages = {
            name: {"domains": ["sums"], **own, **settings.get(name, {})}
            if own["kind"] not in ("opd", "eval") else own | settings.get(name, {})
            for name, own in STAGES.items()
        }  # fmt: skip
        stages = {name: own for name, own in settings.items() if name not in STAGES} | stages
        sums = {"kind": "math"}
        recipe = {"name": "r", "model": {"init": "qwen3"}, "domains": {"sums": sums, "more": sums}, "stages": stages}
        path = folder / "recipe.yaml"
        path.write_text(yaml.safe_dump(recipe))
        loaded = load_recipe(path)
        jobs = [own.job for own in plan(loaded, RunDir(folder / "run"))]
        if not jobs[0].files.model.exists():
            jobs[0].folder.mkdir(parents=True)
            base.run(jobs[0], lambda *_: None)
        return loaded, jobs

    return make


def test_a_teacher_has_its_own_size(job_for: Callable[..., Any], tmp_path: Path) -> None:
    _, jobs = job_for()
    known = one(jobs, "merged").parts
    student = jobs[0].files.model
    config = AutoConfig.from_pretrained(student)
    config.intermediate_size = 16_384
    larger = AutoModelForCausalLM.from_config(config)
    larger.save_pretrained(tmp_path / "larger")
    foreign, teachers = {"kind": "model", "name": str(tmp_path / "larger")}, {"sums": "foreign", "more": "math"}
    load_tokenizer(student).save_pretrained(tmp_path / "larger")
    _, jobs = job_for(foreign=foreign, merged={"teacher_models": teachers})
    jobs[1].folder.mkdir(parents=True)
    base.run(jobs[1], lambda *_: None)
    parts = one(jobs, "merged").parts
    assert parts["weights"] == known["weights"]
    assert parts["teachers"] > 4 * sum(own.numel() for own in larger.parameters())
    assert "teachers" not in known  # small ones fit into what another moment takes


def test_what_extrapolated_teachers_began_as_has_a_place_as_well(job_for: Callable[..., Any]) -> None:
    adapted = {name: {"lora": {}} for name in ("tuned", "math", "merged")}
    plain, further = ({"teacher_models": {"sums": "tuned"}, "extrapolation": own} for own in (1, 1.5))
    told = [one(job_for(merged=own)[1], "merged").parts.get("teachers", 0) for own in (plain, further)]
    assert 2 * told[0] == told[1]
    shared = [one(job_for(**adapted | {"merged": {"lora": {}} | own})[1], "merged").parts for own in (plain, further)]
    assert [own.get("teachers", 0) for own in shared] == [0, 0]  # the base is there anyway


def one(jobs: list[StageJob], name: str, machine: Machine = GPU, lengths: Any = "most") -> Need:
    return next(need for need in needs(jobs, machine, lengths) if need.stage == name)


def test_each_setting_takes_what_it_is_there_for(job_for: Callable[..., Any]) -> None:
    _, jobs = job_for()
    told = {need.stage: need for need in needs(jobs, GPU, "most")}
    assert set(told) == set(STAGES)
    least = {need.stage: need.total() for need in needs(jobs, GPU, "least")}
    assert least["tuned"] == told["tuned"].total() and least["math"] < told["math"].total()
    weights = told["tuned"].parts["weights"]
    assert told["tuned"].parts["optimizer"] == 2 * weights and told["tuned"].disk == 7 * weights
    keys = told["math"].parts["keys"]
    assert told["math"].parts["vllm"] - GRAPHS == pytest.approx(weights / 2, rel=0.01)  # bfloat16, if there were a GPU
    _, jobs = job_for(
        tuned={"lora": {}},
        math={"vllm_enable_sleep_mode": True, "beta": 0.1},
        merged={"num_rows": 64},
    )
    small = {need.stage: need for need in needs(jobs, GPU, "most")}
    assert small["tuned"].parts["optimizer"] < weights / 2 and small["tuned"].disk < told["tuned"].disk / 3
    assert small["math"].moment != "sampling" or small["math"].parts["keys"] == keys
    assert small["math"].parts.get("reference", weights) == weights  # a KL keeps the model that it began from
    assert one(jobs, "merged", Machine(False, GIB)).total() < 2 * GIB


def test_settings_that_fit_are_found_the_cheapest_first(job_for: Callable[..., Any]) -> None:
    _, jobs = job_for(tuned={"per_device_train_batch_size": 4096})
    need = one(jobs, "tuned", Machine(False, None))
    machine = Machine(False, need.total() // 3)
    assert not need.fits(machine) and need.fits(Machine(False, None))
    tuned, math = (next(job for job in jobs if job.name == name) for name in ("tuned", "math"))
    remedy = knobs.remedy(jobs, tuned, machine)
    assert remedy and remedy.need.fits(machine)
    own: Any = remedy.settings
    assert set(own) == {"per_device_train_batch_size", "gradient_accumulation_steps"}
    assert own["per_device_train_batch_size"] * own["gradient_accumulation_steps"] == 4096
    assert own["per_device_train_batch_size"] >= 512  # no smaller than it has to be
    larger = knobs.remedy(jobs, tuned, Machine(False, 2**20))
    assert larger and not larger.need.fits(Machine(False, 2**20))
    assert {"tuned.gradient_checkpointing=true", "tuned.lora={}"} <= set(larger.options())
    engine = knobs.remedy(jobs, math, Machine(True, one(jobs, "math").total() - 2**20))
    assert engine and engine.settings and engine.need.total() < one(jobs, "math").total()


def test_what_is_scored_at_once_can_be_less(job_for: Callable[..., Any]) -> None:
    _, jobs = job_for()
    scores = next(job for job in jobs if job.name == "scores")
    alone = one(jobs, "scores", Machine(False, None))
    written = bytes_of_keys(AutoConfig.from_pretrained(jobs[0].files.model), 512 * 256, 4)
    assert written and alone.parts["keys"] > written  # what is asked has keys as well
    machine = Machine(False, alone.total() - 2**20)
    remedy = knobs.remedy(jobs, scores, machine)
    assert remedy and remedy.need.fits(machine) and set(remedy.settings) == {"batch_size"}
    nearest = knobs.remedy(jobs, scores, Machine(False, 2**20))
    assert nearest and nearest.settings == {"batch_size": 1}


def test_a_recipe_is_cut_to_a_few_steps_on_all_of_its_rows(job_for: Callable[..., Any], tmp_path: Path) -> None:
    recipe, _ = job_for(tuned={"max_steps": 100, "save_steps": 50, "learning_rate": 0.5})
    short = shortened(recipe)
    tuned: Any = short.stages["tuned"]
    assert (tuned.max_steps, tuned.num_rows, tuned.learning_rate) == (STEPS, 800, 0.5)
    assert (short.stages["scores"].held_out_prompts(), short.name) == (64, "r-plan")
    run = RunDir(tmp_path)
    for place, name in enumerate(["base", *short.order()]):
        folder = run.stage(place, name)
        folder.path.mkdir()
        folder.update_state(seconds=20.0, peak_memory_bytes=7)
        for step, seconds in enumerate([5.0, 1.0, 2.0, 1.5] if name == "tuned" else [], 1):
            append_line(folder.metrics, {"step": step, "time/step": seconds})
    found = timings(recipe, run)
    assert found["tuned"] == Timing(start=20 - 4.5, step=1.75, steps=100, peak_memory=7)  # of 2.0 and 1.5
    assert found["tuned"].total() == 15.5 + 99 * 1.75
    assert found["scores"].total() == 20 * 2  # 700 prompts are two batches of 512, and 64 are one


def test_the_command_tells_the_time_and_a_run_that_cannot_fit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "SMALL_MODEL", 0)
    monkeypatch.chdir(tmp_path)
    stages = {"tuned": {"domains": ["sums"], **STAGES["tuned"]}}
    recipe = {"name": "r", "model": {"init": "qwen3"}, "domains": {"sums": {"kind": "math"}}, "stages": stages}
    Path("r.yaml").write_text(yaml.safe_dump(recipe))

    def say(*arguments: str) -> Any:
        return CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})

    done = say("plan", "r.yaml", "--calibrate")
    assert done.exit_code == 0 and "every stage fits into" in done.output, done.output
    assert "one after the other" in done.output
    (kept,) = json.loads(Path("runs/r-plan/plan.json").read_text())
    assert kept["bytes"] == sum(kept["parts"].values()) and kept["tokens"] > 1000
    assert kept["timing"]["steps"] == 9 and kept["seconds"] > 8 * kept["timing"]["step"] > 0
    large = ["r.yaml", "--set", f"tuned.per_device_train_batch_size={2**20}", "--set", "tuned.num_rows=64"]
    done = say("run", *large, "--run-dir", "run")
    assert done.exit_code == 1 and "stage tuned cannot fit: at" in done.stderr, done.output
    assert not list(Path("run").glob("*-tuned")) and list(Path("run").glob("*-base"))
    done = say("plan", *large)
    assert done.exit_code == 1 and "stage tuned does not fit" in done.output
    assert "with --set tuned.per_device_train_batch_size=" in done.output
    assert "leave out --gpu-memory" in say("plan", "r.yaml", "--gpu-memory", "8", "--calibrate").stderr
