"""A company's own conversations, from the file to a score, through the command line."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RECIPE = """
name: own
model: {init: qwen3}
chat: v4
domains:
  orders: {kind: dataset, files: [orders.jsonl]}
modes: {non_think: {max_completion_length: 12}}
stages:
  tuned: {kind: sft, domains: [orders], lora: {r: 4}, max_steps: 2, per_device_train_batch_size: 8}
  scores: {kind: eval, models: [tuned], domains: [orders], num_prompts: 8}
"""


def polymath(folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "polymath.cli", "run", "own.yaml", "--run-dir", "run"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200)


def test_own_conversations_are_learned_and_scored(environment: dict[str, str], tmp_path: Path) -> None:
    rows = [{"prompt": f"order {place}", "completion": f"{place} ok"} for place in range(100)]
    lines = [json.dumps(row) for row in rows]
    (tmp_path / "own.yaml").write_text(RECIPE)
    (tmp_path / "orders.jsonl").write_text("\n".join([*lines[:3], '{"prompt": "order 3"}', *lines[3:]]))
    refused = polymath(tmp_path, environment)
    assert refused.returncode == 2 and "own.yaml:6: domains.orders: 1 row cannot be used" in refused.stderr
    assert "orders.jsonl:4: none of its columns (prompt) is the completion" in refused.stderr
    assert not (tmp_path / "run").exists()
    (tmp_path / "orders.jsonl").write_text("\n".join(lines))
    done = polymath(tmp_path, environment)
    assert done.returncode == 0, done.stderr
    (score,) = json.loads((tmp_path / "run/report/summary.json").read_text())["scores"]
    assert score["domain"] == "orders" and score["n"] == 8
