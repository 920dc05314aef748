"""A user's own tasks and tools: the example of the README, as it stands there."""

import importlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from typer import Exit

from polymath.chat import V4Format
from polymath.data import training_rows
from polymath.domains import python
from polymath.domains.python import PythonDomain
from polymath.execution import begun
from polymath.pipeline import plan
from polymath.recipe import load_recipe
from polymath.release.commands import saved_recipe
from polymath.run_dir import RunDir
from polymath.source import RecipeError
from polymath.stage import ModeConfig

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    code = re.search(r"```python\n# shop\.py\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert code
    (tmp_path / "shop.py").write_text(code.group(1))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "shop", raising=False)  # of the test before, in another folder
    monkeypatch.setattr(sys, "path", [path for path in sys.path if not (Path(path) / "shop.py").exists()])
    return tmp_path


def recipe(folder: Path, factory: str) -> Any:
    text = (ROOT / "recipes/miniature.yaml").read_text()
    start, end = text.index("  agent:\n"), text.index("\nmodes:")
    path = folder / "recipe.yaml"
    path.write_text(f'{text[:start]}  agent: {{kind: python, factory: "{factory}"}}\n{text[end:]}')
    return load_recipe(path)


def test_the_example_is_drawn_executed_and_judged(worth, shop: Path) -> None:
    domain = PythonDomain(factory="shop:Requests")
    rows = training_rows({"shop": domain}, {"shop": 1}, {"high": ModeConfig(think="high")}, 8, 0, V4Format())
    for row in rows:
        turns = [segment.text for segment in row.completion if segment.generated]
        assert worth(row.reward, turns, row.think, row.answer) == 1.0
        assert worth(row.reward, turns[-1:], row.think, row.answer) == 0.0
        assert worth(row.reward, [turns[0], *turns], row.think, row.answer) == 0.0
        assert json.loads(row.environment)["factory"] == "shop:Shop" and '{"name": "buy"' in row.prompt


def test_a_recipe_takes_it_and_notices_when_it_changes(shop: Path) -> None:
    def fingerprints() -> dict[str, str]:
        stages = plan(recipe(shop, "shop:Requests"), RunDir(shop / "run"))
        return {stage.job.name: stage.job.fingerprint for stage in stages}

    before = fingerprints()
    (shop / "shop.py").write_text((shop / "shop.py").read_text() + "\n# changed\n")
    changed = {name for name, fingerprint in fingerprints().items() if fingerprint != before[name]}
    assert "sft-agent" in changed


def test_a_module_that_is_not_there_is_named(shop: Path) -> None:
    with pytest.raises(RecipeError, match=r"domains\.agent\.factory: no module 'shopp'"):
        recipe(shop, "shopp:Requests")
    with pytest.raises(ValueError, match="the module 'shop' has no 'Orders'"):
        PythonDomain(factory="shop:Orders").reward  # noqa: B018


def test_a_module_is_found_beside_its_recipe_and_later_from_any_folder(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def forget() -> None:
        """As another process has not looked there."""
        monkeypatch.setattr(python, "_folders", [])
        monkeypatch.setattr(sys, "path", [path for path in sys.path if not (Path(path) / "shop.py").exists()])
        monkeypatch.delitem(sys.modules, "shop", raising=False)

    forget()
    (shop / "elsewhere").mkdir()
    monkeypatch.chdir(shop / "elsewhere")
    own, run = recipe(shop, "shop:Requests"), RunDir(shop / "run")
    with begun(own, run, {}):
        forget()
    assert saved_recipe(run) == own
    forget()
    (shop / "shop.py").unlink()
    importlib.invalidate_caches()
    with pytest.raises(Exit) as ended:
        saved_recipe(run)
    assert ended.value.exit_code == 2
    told = "resolved.json: domains.agent.python.factory: no module 'shop', neither installed nor beside the recipe nor"
    assert told in capsys.readouterr().err.replace("\n", "")
