"""A policy that judges what it wrote, in a real run: what is kept of it, and that a kill loses nothing."""

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
LARGER, VERDICTS = (f"tests.data.judging.larger:{name}" for name in ("Larger", "Verdicts"))
TRUST = {
    "probe_steps": 2,
    "probe_prompts": 8,
    "max_same_verdict": 1,
    "max_gap_growth": 2,
    "max_self_preference": 1,
    "max_silence": 1,
}
JUDGE: dict[str, Any] = {"think": "non_think", "max_completion_length": 8, "trust": TRUST | {"min_agreement": 0}}
RECIPE: dict[str, Any] = {
    "name": "larger",
    "model": {"init": "qwen3", "hidden_size": 64, "intermediate_size": 128},
    "domains": {
        "larger": {"kind": "python", "factory": LARGER},
        "shown": {"kind": "python", "factory": LARGER, "arguments": {"slips": 0.4}},
        "verdicts": {"kind": "python", "factory": VERDICTS},
    },
    "modes": {"non_think": {"max_completion_length": 8}},
    "defaults": {
        "sft": {"learning_rate": 4e-3, "warmup_steps": 5, "per_device_train_batch_size": 32},
        "grpo": {
            "domains": ["larger"], "per_device_train_batch_size": 32, "max_steps": 6, "save_steps": 2, "logging_steps": 1,
            "from": "format", "rewards": ["rubric", {"name": "verifier", "weight": 0}],
        },
    },
    "stages": {
        "format": {"kind": "sft", "domains": ["shown", "verdicts"], "max_steps": 60},
        "joint": {"kind": "grpo", "judge": JUDGE | {"share": 0.5, "votes": 1}},
        "compared": {"kind": "grpo", "max_steps": 2, "judge": JUDGE | {"kind": "frozen", "from": "format", "responses": 2}},
    },
}  # fmt: skip
TIMES = re.compile("train_loss|^time/|^memory/|train_runtime|per_second|num_tokens|sync/")


def command(folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "polymath", *arguments, str(folder / "run")]


def begin(folder: Path) -> list[str]:
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE, sort_keys=False))
    return command(folder, "run", str(folder / "recipe.yaml"), "--run-dir")


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def run(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judge")
    subprocess.run(begin(folder), cwd=ROOT, env=environment, check=True, capture_output=True, timeout=400)
    return folder / "run"


def test_what_judge_and_policy_do_is_kept(run: Path) -> None:
    joint, compared = run / "02-joint", run / "03-compared"
    assert [line["step"] for line in lines_of(joint / "looks.jsonl")] == [1, 3, 5]
    judgments = lines_of(joint / "judgments.jsonl")
    assert {line["purpose"] for line in judgments} == {"vote", "task", "look"}
    assert {line["step"] for line in judgments if line["purpose"] == "vote"} == set(range(1, 7))
    votes = {(own["step"], name): own for own in judgments if own["purpose"] == "vote" for name in own["of"]}
    seen = 0
    for rollout in lines_of(joint / "rollouts.jsonl"):
        own = votes.get((rollout["step"], rollout["name"]))
        if own and own["scores"] != [None]:
            assert [rollout["rewards"]["rubric"]["value"]] == own["scores"]
            assert f"<response>{re.sub('<.*', '', rollout['turns'][0])}</response>" in own["asked"]
            seen += 1
    assert seen >= 6
    metrics = [line for line in lines_of(joint / "metrics.jsonl") if "reward/rubric" in line]
    tasks = [line for line in judgments if line["purpose"] == "task"]
    assert len(metrics) == 6 and {"judge/task_agreement", "judge/tokens", "time/judge"} <= set(metrics[0])
    assert all(line["labels"] in ([0.0], [1.0]) for line in tasks)
    both = [line for line in lines_of(compared / "judgments.jsonl") if line["purpose"] == "vote"]
    assert both and all(len(line["of"]) == len(line["scores"]) <= 2 for line in both)


def test_a_killed_judge_goes_on_as_if_nothing_had_been(run: Path, environment: dict[str, str], tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run", symlinks=True)
    for stage in ("02-joint", "03-compared"):  # to be done again
        shutil.rmtree(tmp_path / "run" / stage)
    process = subprocess.Popen(command(tmp_path, "resume"), cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    metrics, deadline = tmp_path / "run/02-joint/metrics.jsonl", time.monotonic() + 200
    while not (metrics.exists() and len(lines_of(metrics)) >= 3) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    kept = len(lines_of(metrics))
    assert 3 <= kept < 6
    subprocess.run(command(tmp_path, "resume"), cwd=ROOT, env=environment, check=True, capture_output=True, timeout=400)
    for name in ("looks", "judgments", "rollouts", "metrics"):
        own, other = (
            [_same(line) for line in lines_of(own / f"02-joint/{name}.jsonl")] for own in (tmp_path / "run", run)
        )
        assert own == other, name


def _same(line: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if not TIMES.search(name)}
