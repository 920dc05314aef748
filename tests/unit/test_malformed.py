"""Files as they come: each is answered at once, with file, line, field and remedy, and nothing is written."""

import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from polymath.cli import app
from polymath.recipe import load_recipe

DATA = Path(__file__).resolve().parents[1] / "data/malformed"
EXPECTED = yaml.safe_load((DATA / "expected.yaml").read_text())
RECIPE = """
name: mine
model: {init: qwen3}
domains: {math: {kind: dataset, files: [FILE]}}
stages: {tuned: {kind: sft, domains: [math], max_steps: 2}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(DATA, tmp_path / "given")
    monkeypatch.chdir(tmp_path / "given")
    return tmp_path / "given"


def refused(folder: Path, recipe: str, lines: list[str], file: str) -> None:
    before = sorted(folder.rglob("*"))
    started = time.perf_counter()
    result = CliRunner().invoke(app, ["run", recipe], env={"COLUMNS": "200"})
    assert time.perf_counter() - started < 2
    assert result.exit_code == 2
    for line in lines:
        assert line.replace("{file}", file).replace("{folder}", str(folder)) in result.output
    assert sorted(folder.rglob("*")) == before


def test_there_is_something_to_say_of_every_file() -> None:
    for kind, known in EXPECTED.items():
        assert {path.name for path in (DATA / kind).iterdir()} == set(known)
    assert sum(map(len, EXPECTED.values())) >= 60


@pytest.mark.parametrize("name", sorted(EXPECTED["rows"]))
def test_a_malformed_dataset(folder: Path, name: str) -> None:
    (folder / "mine.yaml").write_text(RECIPE.replace("FILE", f"rows/{name}"))
    refused(folder, "mine.yaml", ["mine.yaml:4: domains.math: ", *EXPECTED["rows"][name]], str(folder / "rows" / name))


@pytest.mark.parametrize("name", sorted(EXPECTED["functions"]))
def test_a_malformed_function_is_told_and_trained_on(folder: Path, name: str) -> None:
    done = CliRunner().invoke(app, ["new", "mine", "--data", f"functions/{name}"], env={"COLUMNS": "200"})
    assert done.exit_code == 0 and "2, and 0 that cannot be used" in done.output, done.output
    notes = [json.loads(line) for line in Path("mine.rows.jsonl").read_text().splitlines()]
    assert [f"{note['finding']}: {note['detail']}" for note in notes] == EXPECTED["functions"][name]
    assert {note["line"] for note in notes} == {2}
    load_recipe(Path("mine.yaml"))


@pytest.mark.parametrize("name", sorted(EXPECTED["recipes"]))
def test_a_malformed_recipe(folder: Path, name: str) -> None:
    refused(folder, f"recipes/{name}", EXPECTED["recipes"][name], f"recipes/{name}")


def test_the_command_line_itself_is_as_quick(folder: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "polymath", "run", "recipes/typo_in_a_field.yaml"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={"PYTHONPATH": str(DATA.parents[2])})
    assert done.returncode == 2 and "did you mean 'max_steps'" in done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2
