"""Folders, fingerprints and checkpoints: what a crash may leave behind, and what a change makes stale."""

import json
from collections import Counter
from pathlib import Path

import pytest
from trl.trainer.utils import RepeatSampler

from polymath.chat import V4Format
from polymath.data import training_rows
from polymath.domains.arithmetic import MathDomain
from polymath.pipeline import StageFailed, check_hardware, plan
from polymath.recipe import load_recipe
from polymath.rollouts import EpochSampler
from polymath.run_dir import RunDir, StageDir, append_line, keep_lines, read_lines, whole_folder, write_json
from polymath.stage import ModeConfig
from polymath.training import COMPLETE, last_checkpoint, metric_names, remove_unfinished

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


def test_what_a_stage_needs_of_this_machine_is_looked_for_before_any_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polymath.pipeline.find_spec", lambda name: None)
    stages = plan(load_recipe(MINIATURE, ["grpo-agent.lora={load_in_4bit: true}"]), RunDir(tmp_path))
    with pytest.raises(StageFailed, match=r"stage grpo-agent: .* needs bitsandbytes: pip install"):
        check_hardware(stages)
    check_hardware(stage for stage in stages if stage.job.name != "grpo-agent")


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
    path.write_text('{"step": 5}\n{"st\n{"step": 15}\n')  # no crash does that
    with pytest.raises(ValueError, match=r"metrics.jsonl:2: no JSON \(.*\); mend that line, or delete it"):
        list(read_lines(path))


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
    remove_unfinished(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-100", "checkpoint-50"]


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


@pytest.mark.parametrize("block", [1, 3])
def test_the_rows_of_a_task_stay_together(block: int) -> None:
    stock = RepeatSampler(range(12), mini_repeat_count=2, batch_size=6, repeat_count=2, seed=7)
    sampler = EpochSampler.like(stock, block)
    orders = []
    for epoch in range(4):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
        again = EpochSampler.like(stock, block)
        again.set_epoch(epoch)
        assert list(again) == orders[-1] and len(orders[-1]) == len(list(stock)) == 48
    assert len({tuple(order) for order in orders}) == 4
    for order in orders:
        batches = [order[start : start + 12] for start in range(0, 48, 12)]
        assert batches[0] == batches[1] and batches[2] == batches[3]  # each is trained on twice
        seen = [index for batch in batches[::2] for index in batch]
        assert seen[::2] == seen[1::2] and sorted(seen[::2]) == list(range(12))  # a group is one row, repeated
        tasks = [seen[::2][place : place + block] for place in range(0, 12, block)]
        assert all(own == list(range(own[0], own[0] + block)) and own[0] % block == 0 for own in tasks)
    in_order = RepeatSampler(range(12), mini_repeat_count=2, batch_size=6, repeat_count=2, shuffle=False)
    assert list(EpochSampler.like(in_order, block)) == list(in_order)


def test_each_task_is_drawn_in_every_mode() -> None:
    modes = {name: ModeConfig(think="high") for name in ("low", "high", "max")}
    domains = {"math": MathDomain(), "more": MathDomain(min_operand=200, max_operand=900)}
    rows = training_rows(domains, {"math": 2, "more": 1}, modes, 36, 0, V4Format(), modes_per_task=3)
    assert len(rows) == 36 and Counter(row.domain for row in rows) == {"math": 24, "more": 12}
    tasks = [rows[start : start + 3] for start in range(0, 36, 3)]
    assert all({row.mode for row in task} == set(modes) for task in tasks)
    assert all(len({(row.domain, row.prompt, row.answer) for row in task}) == 1 for task in tasks)
    assert len({task[0].prompt for task in tasks}) == 12
    one_each = training_rows(domains, {"math": 2, "more": 1}, modes, 36, 0, V4Format())
    assert len({row.prompt for row in one_each}) == 36 and Counter(row.mode for row in one_each) == dict.fromkeys(
        modes, 12
    )


def test_metrics_have_our_names() -> None:
    logs = {
        "loss": 1.0, "rewards/verifier/mean": 0.5, "reward": 0.25, "reward/total": 0.125, "kl/math": 0.1, "entropy": 2.0,
        "length/clipped_ratio/high": 0.5, "sync/logprob_gap": 1e-6, "note": "text", "num_tokens": 7,
    }  # fmt: skip
    assert metric_names(logs) == {
        "train/loss": 1.0, "reward/trained/verifier": 0.5, "reward/trained/total": 0.25, "reward/total": 0.125,
        "kl/math": 0.1, "policy/entropy": 2.0, "length/clipped_ratio/high": 0.5, "sync/logprob_gap": 1e-6,
    }  # fmt: skip


def test_state_is_merged(tmp_path: Path) -> None:
    folder = StageDir(tmp_path)
    folder.update_state(a=1, b=1)
    folder.update_state(b=2)
    assert json.loads(folder.state.read_text()) == {"a": 1, "b": 2}
