"""A company's own conversations, from the file to a score, and on to an adapter that others load."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

from polymath import models
from polymath.cli import app
from polymath.release import weights

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


# What a machine may refuse to a process; then all of this runs beside its networks
OFFLINE = ["--offline"] if subprocess.run(["unshare", "--user", "--net", "true"]).returncode == 0 else []


def polymath(folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "polymath", "run", "own.yaml", "--run-dir", "run", *OFFLINE]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200)


@pytest.fixture(scope="module")
def run(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    rows = [{"prompt": f"order {place}", "completion": f"{place} ok"} for place in range(100)]
    lines = [json.dumps(row) for row in rows]
    (folder / "own.yaml").write_text(RECIPE)
    (folder / "orders.jsonl").write_text("\n".join([*lines[:3], '{"prompt": "order 3"}', *lines[3:]]))
    refused = polymath(folder, environment)
    assert refused.returncode == 2 and "own.yaml:6: domains.orders: 1 row cannot be used" in refused.stderr
    assert "orders.jsonl:4: none of its columns (prompt) is the completion" in refused.stderr
    assert not (folder / "run").exists()
    (folder / "orders.jsonl").write_text("\n".join(lines))
    done = polymath(folder, environment)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def say(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def scored(run: Path, environment: dict[str, str]) -> str:
    command = [sys.executable, "-m", "polymath", "eval", str(run), "--num-prompts", "2", *OFFLINE]
    settings = environment | {"COLUMNS": "200"}
    done = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def exported(run: Path, scored: str) -> Path:
    done = say("export", run, run.parent / "out")
    assert done.exit_code == 0 and "stage tuned as adapter" in done.output, done.output
    return run.parent / "out"


def test_own_conversations_are_learned_and_scored(run: Path) -> None:
    assert json.loads((run / "manifest.json").read_text())["networks"] == [] or not OFFLINE
    (score,) = json.loads((run / "report/summary.json").read_text())["scores"]
    assert score["domain"] == "orders" and score["n"] == 8


def test_a_model_is_scored_beside_what_it_began_from(scored: str) -> None:
    rows = [line.split() for line in scored.splitlines()]
    assert [row[:3] for row in rows if row[1:2] in (["guard"], ["non_think"])] == [
        ["orders", "non_think", "2"],
        *([name, "guard", "2"] for name in ("guard-sums", "guard-instructions", "guard-writing")),
    ]
    assert "no clear change" in scored


def test_an_adapter_leaves_with_its_base_and_says_the_same_anywhere(exported: Path, run: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(exported, elsewhere)
    texts = [[5, 6, 7, 8, 9]]
    theirs, own = (
        weights.logprobs(models.load_model(folder, "float32").eval(), texts)
        for folder in (elsewhere, run / "01-tuned/model")
    )
    assert models.base_of(elsewhere) == elsewhere / "base" and torch.equal(theirs[0], own[0])
    card = (elsewhere / "README.md").read_text()
    assert "`orders.jsonl` (" in card and "| tuned | sft | 2 |" in card and "| guard-sums | guard | 0.0 | 0.0" in card
    known = json.loads((elsewhere / "provenance.json").read_text())
    assert known["data"][0]["sha256"] == hashlib.sha256((run.parent / "orders.jsonl").read_bytes()).hexdigest()
    assert [stage["name"] for stage in known["stages"]] == ["base", "tuned"]


def test_an_adapter_goes_on_and_the_card_says_what_it_is(
    run: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    stages = RECIPE.replace("{r: 4}", "{r: 4, use_rslora: true, lora_dropout: 0.1}").partition("  scores:")[0]
    more = "  more: {kind: sft, from: tuned, domains: [orders], max_steps: 2, per_device_train_batch_size: 8}\n"
    (tmp_path / "own.yaml").write_text(stages + more)
    shutil.copy(run.parent / "orders.jsonl", tmp_path)
    done = polymath(tmp_path, environment)
    assert done.returncode == 0, done.stderr
    folders = [tmp_path / "run" / name / "model" for name in ("01-tuned", "02-more")]
    before, after = (load_file(folder / "adapter_model.safetensors") for folder in folders)
    assert before.keys() == after.keys() and any((before[name] != after[name]).any() for name in before)
    assert say("export", tmp_path / "run", tmp_path / "out").exit_code == 0
    card = (tmp_path / "out/README.md").read_text()
    linear = "down_proj gate_proj k_proj o_proj q_proj up_proj v_proj"
    assert card.count(f"| r 4, alpha 32, dropout 0.1, rsLoRA, on {linear} | orders |") == 2


def test_whole_weights_are_those_of_base_and_adapter(run: Path, tmp_path: Path) -> None:
    done = say("export", run, tmp_path / "whole", "--form", "merged", "--dtype", "float32")
    assert done.exit_code == 0 and not models.is_adapter(tmp_path / "whole"), done.output
    comparison = json.loads((tmp_path / "whole/provenance.json").read_text())["comparison"]
    assert comparison["mean"] < 1e-5 and comparison["tokens"] > 50


def test_weights_that_rounding_changes_too_much_stay_float32(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(weights.BOUNDS, "bfloat16", (0.0, 0.0))
    done = say("export", run, tmp_path / "whole", "--form", "merged")
    assert done.exit_code == 0 and "as merged in float32" in done.output, done.output
    assert "weights in float32" in (tmp_path / "whole/README.md").read_text()
    assert json.loads((tmp_path / "whole/provenance.json").read_text())["dtype"] == "float32"
    done = say("export", run, tmp_path / "asked", "--form", "merged", "--dtype", "bfloat16")
    assert done.exit_code == 2 and "in bfloat16, which rounds weights" in done.output
    assert not (tmp_path / "asked").exists()


def test_what_was_changed_is_found(exported: Path, tmp_path: Path) -> None:
    folder = tmp_path / "got"
    shutil.copytree(exported, folder)
    known = folder / "provenance.json"
    digest = hashlib.sha256(known.read_bytes()).hexdigest()
    assert digest in say("verify", folder).output and say("verify", folder, "--sha256", digest).exit_code == 0
    known.write_bytes(known.read_bytes() + b" ")
    assert say("verify", folder).exit_code == 0
    forged = say("verify", folder, "--sha256", digest)
    assert forged.exit_code == 1 and "another sha256" in forged.output
    with (folder / "tokenizer.json").open("a") as file:
        file.write(" ")
    (folder / "README.md").unlink()
    (folder / "more.py").touch()
    (folder / "config.json").symlink_to("/etc/hostname")
    found = say("verify", folder)
    assert found.exit_code == 1
    faults = {line.split()[1].strip(":") for line in found.output.splitlines() if line.startswith("fault")}
    assert faults == {"tokenizer.json", "README.md", "more.py", "config.json"}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"version": 2}, "version: Input should be 1"),
        ({"files": {"../../etc/passwd": "0" * 64}}, "is no path within the folder"),
        ({"files": {"/etc/passwd": "0" * 64}}, "is no path within the folder"),
        ({"files": {"a": "0"}}, "files.a: String should match"),
        ({"more": 1}, "more: Extra inputs"),
    ],
)
def test_a_folder_that_says_nothing_clear_is_refused(
    exported: Path, tmp_path: Path, change: dict[str, Any], fault: str
) -> None:
    known = json.loads((exported / "provenance.json").read_text())
    (tmp_path / "provenance.json").write_text(json.dumps(known | change))
    refused = say("verify", tmp_path)
    assert refused.exit_code == 2 and fault in refused.output


def test_what_cannot_leave_is_refused_and_nothing_written(run: Path, exported: Path) -> None:
    for arguments, fault in (
        ((exported,), "is there already"),
        (
            (run.parent / "new", "--stage", "scores"),
            "stage 'scores' is none of those that trained a model, and are done: tuned",
        ),
        ((run.parent / "new", "--form", "gguf"), "no name for how this tokenizer splits text"),
    ):
        refused = say("export", run, *arguments)
        assert refused.exit_code == 2 and fault in refused.output
    assert not list(run.parent.glob("*new*"))
    assert "no run to go on with" in say("export", run.parent, run.parent / "new").output


def test_the_server_is_told_how_the_model_speaks(exported: Path) -> None:
    said = say("serve", exported, "--print", "--max-model-len", "256").output
    assert "--tool-call-parser deepseek_v4" in said and f"--lora-modules own={exported} --max-lora-rank 8" in said
    assert """--default-chat-template-kwargs '{"thinking": false}'""" in said and said.endswith("--max-model-len 256\n")
    settings = exported / "adapter_config.json"
    before = settings.read_text()
    settings.write_text(json.dumps(json.loads(before) | {"trainable_token_indices": {"embed_tokens": [3]}}))
    refused = say("serve", exported, "--print")
    settings.write_text(before)
    assert refused.exit_code == 2 and "export it with --form merged" in refused.output
