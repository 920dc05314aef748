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


def polymath(folder: Path, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    arguments = arguments or ("run", "own.yaml", "--run-dir", "run")
    command = [sys.executable, "-m", "polymath.cli", *arguments]
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
    (tmp_path / "orders.jsonl").write_text("\n".join(lines[:-1]))  # what was trained on it is out of date
    again = polymath(tmp_path, environment)
    assert again.returncode == 0 and "tuned: starts" in again.stdout + again.stderr


def test_a_recipe_is_written_for_what_was_found(environment: dict[str, str], tmp_path: Path) -> None:
    rows = [{"prompt": f"order {place}", "completion": f"{place} ok"} for place in range(40)]
    rows += [rows[7], {"prompt": "Mail bob@example.com", "completion": "done"}]
    (tmp_path / "mine.jsonl").write_text("\n".join([*map(json.dumps, rows), "{"]))
    done = polymath(tmp_path, environment, "new", "mine", "--data", "mine.jsonl")
    assert done.returncode == 0, done.stderr
    assert "42, and 1 that cannot be used" in done.stdout and "1 rows say what an earlier one says" in done.stdout
    notes = [json.loads(line) for line in (tmp_path / "mine.rows.jsonl").read_text().splitlines()]
    found = [(note["line"], note["finding"]) for note in notes]
    assert found == [(43, "cannot be used"), (41, "twice"), (42, "e-mail address")]
    shown = polymath(tmp_path, environment, "run", "mine.yaml", "--dry-run")
    assert shown.returncode == 0 and "tuned" in shown.stdout and "scores" in shown.stdout, shown.stderr
    for arguments, fault in {
        ("mine", "--data", "mine.jsonl"): "mine.yaml: is there already",
        ("Mine", "--data", "mine.jsonl"): "NAME 'Mine'",
        ("other", "--data", "none.jsonl"): "none.jsonl: no such file",
        ("other", "--data", "mine.jsonl", "--model", "./none"): "--model ./none",
        ("other", "--data", "mine.jsonl", "--column", "prompt"): "each reads prompt=NAME",
        ("other", "--data", "mine.jsonl", "--column", "prompt=frage"): "no row that can be used",
    }.items():
        refused = polymath(tmp_path, environment, "new", *arguments)
        assert refused.returncode == 2 and fault in refused.stderr and "Traceback" not in refused.stderr
    assert not (tmp_path / "other.yaml").exists()
