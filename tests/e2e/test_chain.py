"""Run, kill, resume, change, report: as a user does."""

import json
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
Polymath = Callable[..., subprocess.CompletedProcess[str]]

STAGES = ["base", "format", "sft-math", "sft-agent", "grpo-math", "grpo-agent", "merged", "scores"]


def events(run: Path, event: str) -> list[str]:
    lines = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    return [line["stage"] for line in lines if line["event"] == event]


def summary(run: Path) -> dict:
    return json.loads((run / "report/summary.json").read_text())


def metrics(run: Path) -> dict[str, list[dict]]:
    """Every stage's metrics, without what depends on the clock."""

    def steady(line: str) -> dict:
        return {k: v for k, v in json.loads(line).items() if "time" not in k and "second" not in k}

    return {p.parent.name: [steady(line) for line in p.read_text().splitlines()] for p in run.glob("*/metrics.jsonl")}


def test_the_chain_runs_and_reports(finished: Path) -> None:
    content = summary(finished)
    assert [stage["name"] for stage in content["stages"]] == STAGES
    assert {stage["status"] for stage in content["stages"]} == {"done"}
    assert all(stage["seconds"] > 0 for stage in content["stages"])
    assert all(stage["peak_memory_bytes"] > 2**20 for stage in content["stages"][1:])
    cells = {(s["model"], s["domain"], s["mode"]): s for s in content["scores"]}
    assert len(cells) == len(content["scores"]) == 3 * 2 * 2
    assert all(s["n"] == 16 and 0 <= s["accuracy"] <= 1 and s["mean_tokens"] > 0 for s in cells.values())
    manifest = json.loads((finished / "manifest.json").read_text())
    assert not list(finished.glob("*/checkpoints"))  # what is done is not gone on with
    assert set(json.loads((finished / "06-merged/model/teacher_manifest.json").read_text())) == {"math", "agent"}
    assert manifest["versions"]["trl"].startswith("1.16") and manifest["hardware"]["cores"] > 0
    assert len({s["data_sha256"] for s in content["stages"] if s["data_sha256"]}) == 6


def test_metrics_tell_rewards_lengths_and_teachers(finished: Path) -> None:
    by_stage = metrics(finished)
    grpo = [line for line in by_stage["04-grpo-math"] if "reward/verifier" in line]
    assert [line["step"] for line in grpo] == [1, 2, 3, 4, 5, 6]
    assert all("reward/length_penalty" in line for line in grpo)
    assert {"length/high", "length/non_think"} <= set().union(*grpo)  # a batch of two prompts may lack a mode
    opd = [line for line in by_stage["06-merged"] if "train/loss" in line]
    assert all(line["kl/math"] >= 0 and line["kl/agent"] >= 0 for line in opd)
    # equation 29 with both weights 1: the loss is the sum of the domains' mean divergences
    for line in opd:
        assert line["train/loss"] == pytest.approx(line["kl/math"] + line["kl/agent"], rel=1e-3)


def test_the_page_stands_alone(finished: Path) -> None:
    page = (finished / "report/index.html").read_text()
    assert page.count("data:image/png;base64,") >= 4
    assert "http://" not in page and "https://" not in page and "<script" not in page
    assert "<think>" not in page  # what models write is escaped
    for name in STAGES:
        assert f"<td>{name}</td>" in page


def test_running_again_trains_nothing(polymath: Polymath, finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "again"
    shutil.copytree(finished, run, symlinks=True)
    before = len(events(run, "started"))
    assert polymath("resume", str(run)).returncode == 0
    assert len(events(run, "started")) == before
    assert events(run, "skipped") == STAGES


def test_killed_runs_end_like_the_uninterrupted_one(
    launch: Callable[..., subprocess.Popen[bytes]], polymath: Polymath, finished: Path, tmp_path: Path
) -> None:
    """kill -9 at a random moment; no finished stage runs twice, and every number is the same."""
    run = tmp_path / "killed"
    shutil.copytree(finished, run, symlinks=True)
    for stage in range(random.choice((1, 3, 4)), len(STAGES)):
        (folder,) = run.glob(f"{stage:02d}-*")
        shutil.rmtree(folder)
    (run / "events.jsonl").unlink()
    process = launch("resume", str(run))
    time.sleep(random.uniform(8, 18))
    process.send_signal(signal.SIGKILL)
    process.wait()
    result = polymath("resume", str(run))
    assert result.returncode == 0, result.stderr
    finished_stages = events(run, "finished")
    assert sorted(finished_stages) == sorted(set(finished_stages))
    assert summary(run)["scores"] == summary(finished)["scores"]
    ours, theirs = metrics(run), metrics(finished)
    for stage in theirs:
        last = [[line for line in side[stage] if "train/loss" in line] for side in (ours, theirs)]
        assert last[0] == last[1], stage


def test_two_processes_learn_what_one_does_and_survive_a_kill(
    launch: Callable[..., subprocess.Popen[bytes]], polymath: Polymath, finished: Path, tmp_path: Path
) -> None:
    """A change of the recipe, too: what depends on it runs again, and nothing else."""
    run = tmp_path / "two"
    shutil.copytree(finished, run)
    halves = {"merged.num_processes": 2, "merged.per_device_train_batch_size": 8}
    dry = polymath("run", "recipes/miniature.yaml", "--run-dir", str(run), "--dry-run", **halves)
    rows = [line.split() for line in dry.stdout.splitlines()]
    states = [row[-1] for row in rows if row and row[0] in STAGES]
    assert dry.returncode == 0 and states == ["done"] * 6 + ["changed"] * 2
    assert not list(run.glob("*.old-1"))
    process = launch("run", "recipes/miniature.yaml", "--run-dir", str(run), **halves)
    written = run / "06-merged/rank-1/metrics.jsonl"
    for _ in range(3000):
        time.sleep(0.1)
        if written.exists() and len(written.read_text().splitlines()) >= 3:
            break
    assert process.poll() is None and not (run / "06-merged/model").exists()
    process.send_signal(signal.SIGKILL)
    process.wait()
    result = polymath("resume", str(run))
    assert result.returncode == 0, result.stderr
    assert "merged" in events(run, "resumed")
    assert events(run, "started")[len(STAGES) :] == ["merged", "scores"]
    assert sorted(path.name for path in run.glob("*.old-1")) == ["06-merged.old-1", "07-scores.old-1"]
    ours, theirs = ([line for line in metrics(side)["06-merged"] if "train/loss" in line] for side in (run, finished))
    assert len(ours) == len(theirs) == 6
    for one, other in zip(ours, theirs, strict=True):
        for name in ("train/loss", "kl/math", "kl/agent", "length/mean", "length/high", "token_share/math"):
            assert one.get(name) == pytest.approx(other.get(name), rel=1e-3), name


def test_too_many_processes_are_refused(polymath: Polymath, tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    result = polymath("run", "recipes/miniature.yaml", "--run-dir", run, **{"merged.num_processes": 999})
    assert (
        result.returncode == 1
        and "stage merged: num_processes is 999, and this machine has CPU cores: " in result.stderr
    )


def test_a_reward_that_no_row_is_for_is_refused_before_anything_trains(polymath: Polymath, tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = polymath("run", "recipes/miniature.yaml", "--run-dir", str(run), **{"grpo-math.rewards": "[code_tests]"})
    assert result.returncode == 1
    assert result.stderr.startswith("reward 'code_tests' applies to no row of this stage, whose domains have math_ans")
    assert not list(run.glob("[0-9]*"))


def test_a_failure_is_told_and_mended_and_adapters_share_one_base(
    polymath: Polymath, finished: Path, tmp_path: Path
) -> None:
    run, adapter = tmp_path / "lora", "{r: 4, lora_alpha: 8}"
    shutil.copytree(finished, run, symlinks=True)  # with its cold start
    names = ("sft-math", "sft-agent", "grpo-math", "grpo-agent", "merged")
    settings: dict[str, object] = {f"{name}.lora": adapter for name in names}
    settings |= {f"{name}.max_steps": 2 for name in names}
    (run / "01-format/model").rename(tmp_path / "aside")
    result = polymath(
        "run", "recipes/miniature.yaml", "--run-dir", str(run), **settings, **{"scores.models": "[merged]"}
    )
    assert result.returncode == 1
    assert "stage sft-math: the model of stage format is no longer at" in result.stderr, result.stderr
    (tmp_path / "aside").rename(run / "01-format/model")
    weights = run / "01-format/model/model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(b"not weights")
    result = polymath("resume", str(run))
    assert result.returncode == 1
    assert "stage sft-math:" in result.stderr and "02-sft-math/log.txt" in result.stderr and "resume" in result.stderr
    weights.write_bytes(whole)
    result = polymath("resume", str(run))
    assert result.returncode == 0, result.stderr
    for index, name in ((2, "sft-math"), (5, "grpo-agent"), (6, "merged")):
        model = run / f"{index:02d}-{name}" / "model"
        assert (model / "adapter_model.safetensors").exists() and not (model / "model.safetensors").exists()
        base = json.loads((model / "adapter_config.json").read_text())["base_model_name_or_path"]
        assert Path(base).resolve() == (run / "01-format/model").resolve()
    assert not [path for path in (run / "06-merged/model").iterdir() if path.is_dir()]  # no teacher is saved with it


@pytest.mark.parametrize("arguments", [("resume", "nowhere"), ("report", "nowhere"), ("convert", "no.gguf", "out")])
def test_what_is_not_there_is_said(polymath: Polymath, arguments: tuple[str, ...]) -> None:
    result = polymath(*arguments)
    assert result.returncode == 2 and arguments[1] in result.stderr and "Traceback" not in result.stderr
    assert not (ROOT / "nowhere").exists() and not (ROOT / "out").exists()
