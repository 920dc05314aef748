"""Folders, fingerprints and checkpoints: what a crash may leave behind, and what a change makes stale."""

import json
from pathlib import Path

from polymath.pipeline import plan
from polymath.recipe import load_recipe
from polymath.rollouts import EpochSampler
from polymath.run_dir import RunDir, StageDir, append_line, keep_lines, read_lines, whole_folder, write_json
from polymath.training import COMPLETE, last_checkpoint, metric_names

MINIATURE = Path(__file__).resolve().parents[2] / "recipes/miniature.yaml"


def fingerprints(*overrides: str) -> dict[str, str]:
    plans = plan(load_recipe(MINIATURE, list(overrides)), RunDir(Path("nowhere")))
    return {stage.job.name: stage.job.fingerprint for stage in plans}


def changed(*overrides: str) -> set[str]:
    before, after = fingerprints(), fingerprints(*overrides)
    return {name for name in before if before[name] != after[name]}


def test_a_change_makes_stale_what_depends_on_it_and_nothing_else() -> None:
    assert changed() == set()
    assert changed("scores.num_prompts=8") == {"scores"}
    assert changed("grpo-math.max_steps=9") == {"grpo-math", "merged", "scores"}
    assert changed("sft-agent.learning_rate=0.1") == {"sft-agent", "grpo-agent", "merged", "scores"}
    assert changed("modes.high.length_penalty=0.3") == {"grpo-math", "grpo-agent", "merged", "scores"}
    assert changed("seed=1") == set(fingerprints())
    assert changed("domains.math.max_operand=80") == set(fingerprints())  # the tokenizer learns from the domains


def test_branches_share_the_cores(monkeypatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    threads = {p.job.name: p.job.threads for p in plan(load_recipe(MINIATURE), RunDir(Path("nowhere")))}
    assert threads["format"] == threads["merged"] == 8
    assert threads["sft-math"] == threads["sft-agent"] == threads["grpo-math"] == 4


def test_status_follows_the_folder(tmp_path: Path) -> None:
    stage = plan(load_recipe(MINIATURE), RunDir(tmp_path))[1]
    assert stage.status() == "new"
    stage.folder.path.mkdir(parents=True)
    stage.folder.update_state(fingerprint=stage.job.fingerprint, status="running")
    assert stage.status() == "interrupted"
    stage.folder.update_state(status="done")
    assert stage.status() == "done"
    stage.folder.update_state(fingerprint="other")
    assert stage.status() == "changed"


def test_lines_survive_a_cut(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for step in (5, 10, 15):
        append_line(path, {"step": step})
    path.write_text(path.read_text() + '{"step": 2')
    assert [line["step"] for line in read_lines(path)] == [5, 10, 15]
    keep_lines(path, lambda line: line["step"] <= 10)
    assert path.read_text() == '{"step": 5}\n{"step": 10}\n'


def test_a_folder_is_whole_or_absent(tmp_path: Path) -> None:
    target = tmp_path / "model"
    try:
        with whole_folder(target) as folder:
            (folder / "half").touch()
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert not target.exists()
    for name in ("first", "second"):
        with whole_folder(target) as folder:
            (folder / name).touch()
    assert [path.name for path in tmp_path.rglob("*")].count("second") == 1
    assert not (target / "first").exists()


def test_an_unfinished_checkpoint_is_never_resumed(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path) is None
    for step in (50, 100, 150):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        write_json(folder / "trainer_state.json", {})
        if step < 150:
            (folder / COMPLETE).touch()
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-100"
    assert not (tmp_path / "checkpoint-150").exists()


def test_the_order_of_an_epoch_needs_no_history() -> None:
    def sampler() -> EpochSampler:
        return EpochSampler(range(20), mini_repeat_count=2, batch_size=4, repeat_count=1, seed=7)

    straight = sampler()
    orders = []
    for epoch in range(3):
        straight.set_epoch(epoch)
        orders.append(list(straight))
    resumed = sampler()
    resumed.set_epoch(2)
    assert list(resumed) == orders[2]
    assert orders[0] != orders[1] != orders[2]
    assert sorted(orders[1]) == sorted([*range(20), *range(20)])


def test_metrics_have_our_names() -> None:
    logs = {"loss": 1.0, "rewards/verifier/mean": 0.5, "kl/math": 0.1, "completions/clipped_ratio": 3, "note": "text"}
    assert metric_names(logs) == {"train/loss": 1.0, "reward/verifier": 0.5, "kl/math": 0.1, "length/clipped_ratio": 3}


def test_state_is_merged(tmp_path: Path) -> None:
    folder = StageDir(tmp_path)
    folder.update_state(a=1, b=1)
    folder.update_state(b=2)
    assert json.loads(folder.state.read_text()) == {"a": 1, "b": 2}
