"""What distillation is compared with, in a real run: merges of whole models and of adapters, and off-policy training."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from polymath import models

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"per_device_train_batch_size": 8, "save_steps": 2, "logging_steps": 1, "max_steps": 2}
LORA = {"r": 4, "lora_alpha": 8}
STAGES = {
    "format": {"kind": "sft", "domains": ["math", "agent"]},
    "sft-math": {"kind": "sft", "from": "format", "domains": ["math"]},
    "sft-agent": {"kind": "sft", "from": "format", "domains": ["agent"]},
    "lora-math": {"kind": "sft", "from": "format", "domains": ["math"], "lora": LORA},
    "lora-agent": {"kind": "sft", "from": "format", "domains": ["agent"], "lora": LORA},
    "mean": {"kind": "merge", "from": "format", "models": ["sft-math", "sft-agent"]},
    "trimmed": {
        "kind": "merge", "from": "format", "models": {"lora-math": 1, "sft-agent": 0.5}, "method": "ties", "density": 0.2,
    },
    "lora-sum": {
        "kind": "merge", "from": "format", "models": {"lora-math": 1, "lora-agent": 1}, "method": "task_arithmetic",
    },
    "further": {"kind": "grpo", "from": "mean", "domains": ["math"], "num_generations": 4},
    "merged": {
        "kind": "opd", "from": "lora-sum", "teacher_models": {"math": "lora-math", "agent": "trimmed"}, "lora": LORA,
        "extrapolation": 1.25,
    },
    "early": {
        "kind": "opd", "from": "format", "teacher_models": {"math": "sft-math"}, "max_steps": 9, "logging_steps": 1,
        "early_stopping_patience": 1, "early_stopping_threshold": 0.999,
    },
    "student": {
        "kind": "off_policy", "from": "format", "teacher_models": {"math": "sft-math", "agent": "lora-agent"}, "num_samples": 2,
        "keep": "all", "generation_batch_size": 3,
    },
    "scores": {"kind": "eval", "models": ["mean", "trimmed", "lora-sum", "merged", "student"], "domains": ["math"], "num_prompts": 4},
}  # fmt: skip
RECIPE = {
    "name": "merges",
    "model": {"init": "qwen3", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1},
    "domains": {"math": {"kind": "math"}, "agent": {"kind": "agent", "max_calls": 1, "num_tools": 3}},
    "modes": {"non_think": {"max_completion_length": 64}},
    "defaults": {kind: SMALL for kind in ("sft", "grpo", "opd", "off_policy")},
    "stages": STAGES,
}


def run_of(recipe: dict[str, Any], folder: Path, environment: dict[str, str], *given: str) -> tuple[Path, str]:
    """The run of a recipe, which succeeds unless more than its folder is given, and what it says of its faults."""
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    command = [
        sys.executable,
        "-m",
        "polymath",
        "run",
        str(folder / "recipe.yaml"),
        "--run-dir",
        str(folder / "run"),
    ]
    result = subprocess.run(
        [*command, *given], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400, check=False
    )
    assert given or result.returncode == 0, result.stderr
    return folder / "run", result.stderr


@pytest.fixture(scope="module")
def merges(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of(RECIPE, tmp_path_factory.mktemp("merges"), environment)[0]


def model_of(run: Path, stage: str) -> Path:
    (folder,) = run.glob(f"[0-9][0-9]-{stage}/model")
    return folder


def weights(run: Path, stage: str) -> dict[str, torch.Tensor]:
    model = models.load_model(model_of(run, stage), "float32")
    whole = model.merge_and_unload() if models.is_adapter(model_of(run, stage)) else model
    return whole.state_dict()


def test_what_is_written_is_the_merge_of_what_the_stages_wrote(merges: Path) -> None:
    start, math, agent, mean = (weights(merges, stage) for stage in ("format", "sft-math", "sft-agent", "mean"))
    lora_math, lora_agent, lora_sum = (weights(merges, stage) for stage in ("lora-math", "lora-agent", "lora-sum"))
    assert any((math[name] != agent[name]).any() for name in math)
    assert any((lora_math[name] != lora_agent[name]).any() for name in math)
    for name in start:
        torch.testing.assert_close(mean[name], (math[name] + agent[name]) / 2)
        torch.testing.assert_close(lora_sum[name], lora_math[name] + lora_agent[name] - start[name])
    assert [models.is_adapter(model_of(merges, stage)) for stage in ("lora-sum", "trimmed")] == [True, False]


def test_merged_models_are_scored_and_go_on(merges: Path) -> None:
    summary = json.loads((merges / "report/summary.json").read_text())
    assert {stage["status"] for stage in summary["stages"]} == {"done"}
    assert {stage["name"]: stage["kind"] for stage in summary["stages"]}["trimmed"] == "merge"
    assert [own["model"] for own in summary["scores"]] == ["mean", "trimmed", "lora-sum", "merged", "student"]
    assert all(own["n"] == 4 and own["mean_tokens"] > 0 for own in summary["scores"])
    last = [json.loads(line) for line in next(merges.glob("*-merged/metrics.jsonl")).read_text().splitlines()]
    learned = [line for line in last if "train/loss" in line]
    assert learned and all(line["kl/math"] > 0 and line["kl/agent"] > 0 for line in learned)  # it began elsewhere
    assert all(line["token_share/math"] + line["token_share/agent"] == pytest.approx(1) for line in learned)
    settings = json.loads((model_of(merges, "merged") / models.ADAPTER_FILE).read_text())
    assert settings["r"] == 2 * LORA["r"]
    assert "<td>trimmed</td>" in (merges / "report/index.html").read_text()


def test_a_distillation_that_learns_no_more_ends_early_and_whole(merges: Path) -> None:
    (folder,) = merges.glob("[0-9][0-9]-early")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert max(line["step"] for line in lines) == 3  # the plateau is seen at the second
    alarms = [json.loads(line) for line in (folder / "alarms.jsonl").read_text().splitlines()]
    assert [(alarm["name"], alarm["of"], alarm["step"]) for alarm in alarms] == [("plateau", "math", 2)]
    assert (folder / "model/model.safetensors").exists()


def test_models_from_elsewhere_teach_merge_and_are_scored(
    merges: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    stages = {
        "whole": {"kind": "model", "name": str(model_of(merges, "sft-math"))},
        "adapter": {"kind": "model", "name": str(model_of(merges, "lora-agent"))},
        "student": {
            "kind": "opd", "from": "format", "teacher_models": {"math": "whole", "agent": "adapter"}, "lora": LORA,
        },
        "format": {"kind": "model", "name": str(model_of(merges, "format"))},
        "mean": {"kind": "merge", "from": "format", "models": ["whole", "adapter"]},
        "scores": {"kind": "eval", "models": ["whole", "student", "mean"], "domains": ["math"], "num_prompts": 4},
    }  # fmt: skip
    recipe = RECIPE | {"model": {"name": str(model_of(merges, "base"))}, "stages": stages}
    run, _ = run_of(recipe, tmp_path, environment)
    math, agent, mean = (weights(run, stage) for stage in ("whole", "adapter", "mean"))
    for name in mean:
        torch.testing.assert_close(mean[name], (math[name] + agent[name]) / 2)
    summary = json.loads((run / "report/summary.json").read_text())
    assert [own["model"] for own in summary["scores"]] == ["whole", "student", "mean"]
    moved = recipe | {"stages": stages | {"whole": {"kind": "model", "name": "./nowhere"}}}
    _, said = run_of(moved, tmp_path, environment, "--dry-run")
    assert "stages.whole.name: found 'nowhere', which is not in" in said


def test_what_is_done_is_not_done_again(
    merges: Path, polymath: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    before = (model_of(merges, "mean") / "model.safetensors").stat().st_mtime_ns
    assert polymath("resume", str(merges)).returncode == 0
    assert (model_of(merges, "mean") / "model.safetensors").stat().st_mtime_ns == before
    events = [json.loads(line) for line in (merges / "events.jsonl").read_text().splitlines()]
    assert {line["stage"] for line in events if line["event"] == "skipped"} == {"base", *STAGES}


def test_samples_of_specialists_outlive_the_stage_that_was_killed(
    merges: Path, polymath: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    run = tmp_path / "killed"
    shutil.copytree(merges, run, symlinks=True)
    (folder,) = run.glob("*-student")
    samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    assert {line["domain"] for line in samples} == {"math", "agent"} and len(samples) == 2 * SMALL["max_steps"] * 8 // 2
    expected = {path: path.read_bytes() for path in (folder / "model/model.safetensors", folder / "samples.jsonl")}
    state = json.loads((folder / "stage.json").read_text())
    assert sum(own["kept"] for own in state["samples"].values()) == len(samples)
    # As a kill leaves it that comes with the seventh sample, before any step
    (folder / "stage.json").write_text(json.dumps(state | {"status": "running"}))
    (folder / "samples.jsonl").write_bytes(
        b"".join(expected[folder / "samples.jsonl"].splitlines(keepends=True)[:7])[:-9]
    )
    shutil.rmtree(folder / "model")
    assert not (folder / "checkpoints").exists()  # nothing needs them any more
    result = polymath("resume", str(run))
    assert result.returncode == 0, result.stderr
    assert {path: path.read_bytes() for path in expected} == expected
    assert json.loads((folder / "stage.json").read_text())["attempts"] == 2
