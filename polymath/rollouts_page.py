"""A page for reading what a run's `grpo` stages sampled, step by step: scores, parts, and what a judge said of it."""

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment

from polymath.recipe import Recipe
from polymath.run_dir import RunDir, StageDir, read_lines, write_text

MOST = 24 << 20  # characters of a page; of a longer one some steps are left out
LONGEST = 20_000  # characters of one text on it
Steps = dict[int, dict[str, list[dict[str, Any]]]]


def write_page(recipe: Recipe, run: RunDir, folders: Mapping[str, StageDir], environment: Environment) -> bool:
    """Write `report/rollouts.html`, where there is anything to read; whether there is."""
    stages = {name: _steps(folders[name]) for name, stage in recipe.stages.items() if stage.kind == "grpo"}
    stages = {name: steps for name, steps in stages.items() if steps}
    if not stages:
        return False
    thinned = {name: _thinned(steps, MOST // len(stages)) for name, steps in stages.items()}
    notes = {
        name: f"{len(thinned[name])} of {len(steps)} steps; all are in {_where(folders[name], run.path)}"
        for name, steps in stages.items()
        if len(thinned[name]) < len(steps)
    }
    data = json.dumps({"stages": thinned, "notes": notes}, ensure_ascii=False).replace("<", "\\u003c")
    page = environment.get_template("rollouts.html.j2").render(recipe=recipe, run=run.path.name, data=data)
    write_text(run.report / "rollouts.html", page)
    return True


def _steps(folder: StageDir) -> Steps:
    paths = {"rollouts": folder.rollouts, "judgments": folder.judgments, "rubrics": folder.rubrics}
    steps: defaultdict[int, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: {kind: [] for kind in paths})
    for kind, path in paths.items():
        for line in read_lines(path):
            steps[line.pop("step")][kind].append(_shortened(line))
    return dict(sorted(steps.items()))


def _shortened(value: Any) -> Any:
    """The same with no text in it that is too long for a page."""
    if isinstance(value, dict):
        return {key: _shortened(own) for key, own in value.items()}
    if isinstance(value, list):
        return [_shortened(own) for own in value]
    if isinstance(value, str) and len(value) > LONGEST:
        return f"{value[:LONGEST]} [... and {len(value) - LONGEST} more characters]"
    return value


def _thinned(steps: Steps, most: int) -> Steps:
    """As many steps, as evenly apart, as there is room for; the first and the last one in any case."""
    total = len(json.dumps(steps, ensure_ascii=False))
    count = max(2, min(len(steps), len(steps) * most // max(1, total)))
    names = list(steps)
    kept = {names[round(place * (len(names) - 1) / (count - 1))] for place in range(count)}
    return {step: own for step, own in steps.items() if step in kept}


def _where(folder: StageDir, run: Path) -> str:
    own = folder.path.relative_to(run)
    return f"{own / folder.rollouts.name}, {folder.judgments.name} and {folder.rubrics.name}"
