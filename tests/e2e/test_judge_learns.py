"""The miniature of judging as it is shipped, minutes a seed: what judge and policy learn, and from whom."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_policy_learns_from_its_own_votes(seed: int, environment: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "polymath", "run", "recipes/judge_miniature.yaml"]
    command += ["--run-dir", str(tmp_path / "run"), "--set", f"seed={seed}"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=880)
    found = json.loads((tmp_path / "run/report/summary.json").read_text())["scores"]
    score = {(own["model"], own["domain"]): own["accuracy"] for own in found}
    assert score["format", "judge"] < 0.62  # near chance
    assert score["joint", "judge"] >= 0.9
    gain = {model: score[model, "math"] - score["format", "math"] for model in ("joint", "untrained", "verified")}
    assert gain["joint"] >= 0.2 and gain["joint"] - gain["untrained"] >= 0.1
    assert gain["joint"] >= gain["verified"] - 0.1
