"""The real model on a real GPU with vLLM: a few steps of the recipe."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHORT = ("sft-math.max_steps=20", "grpo-math.max_steps=3", "scores.num_prompts=32")


@pytest.mark.gpu
def test_sft_and_grpo_with_vllm_rollouts(tmp_path: Path) -> None:
    sets = [part for setting in SHORT for part in ("--set", setting)]
    line = [
        sys.executable,
        "-m",
        "polymath",
        "run",
        "recipes/smollm2/math.yaml",
        "--run-dir",
        str(tmp_path / "run"),
    ]
    subprocess.run([*line, *sets], cwd=ROOT, check=True, timeout=900)
    summary = json.loads((tmp_path / "run/report/summary.json").read_text())
    assert {stage["status"] for stage in summary["stages"]} == {"done"}
    lines = (tmp_path / "run/02-grpo-math/metrics.jsonl").read_text().splitlines()
    gaps = [metrics["sync/logprob_gap"] for metrics in map(json.loads, lines) if "sync/logprob_gap" in metrics]
    assert gaps and max(gaps) < 0.2  # vLLM samples what the trainer holds
