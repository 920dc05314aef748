"""A run in numbers: scores, what the merged model kept, and what each stage took."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from distill.config import OpdConfig, TaughtConfig
from polymath.calibration import Bin, bins, error
from polymath.domains.assessed import AssessedDomain
from polymath.eval_config import EvalConfig
from polymath.recipe import Recipe
from polymath.run_dir import RunDir, StageDir, read_json, read_lines
from polymath.stage import BASE
from polymath.unfinished import unfinished
from rl.config import GrpoConfig

Score = dict[str, Any]  # model, domain, mode, accuracy, stderr, mean_tokens, n
Point = dict[str, float]  # step, accuracy, mean_tokens: of one mode at one logged step of training
ENDS = 0.1  # share of a path that is averaged at its start, and at its end


def stage_folders(recipe: Recipe, run: RunDir) -> dict[str, StageDir]:
    """Stage -> its folder, in the order of the run."""
    return {name: run.stage(index, name) for index, name in enumerate([BASE, *recipe.order()])}


def summarise(recipe: Recipe, run: RunDir) -> dict[str, Any]:
    """The content of `summary.json`; what has not run yet is left out of the scores and says so in `stages`."""
    scores = _scores(recipe, run)
    return {
        "name": recipe.name,
        "seed": recipe.seed,
        "scores": scores,
        **kept(recipe, scores),
        "modes": {
            stage: {mode: ends(path) for mode, path in paths.items()}
            for stage, paths in mode_paths(recipe, stage_folders(recipe, run)).items()
        },
        "calibration": {
            model: {domain: {"error": error(own), "n": sum(one.n for one in own)} for domain, own in found.items()}
            for model, found in calibrations(recipe, stage_folders(recipe, run)).items()
        },
        "stages": [_stage(name, folder) for name, folder in stage_folders(recipe, run).items()],
        "unfinished": unfinished(recipe, run, stage_folders(recipe, run)),
    }


def calibrations(recipe: Recipe, folders: Mapping[str, StageDir]) -> dict[str, dict[str, list[Bin]]]:
    """Model -> domain -> stated and verified scores, in the domains whose answers state one."""
    found: dict[str, dict[str, list[Bin]]] = {}
    for name, stage in recipe.stages.items():
        if not isinstance(stage, EvalConfig):
            continue
        stating = [domain for domain in stage.domains if isinstance(recipe.domains[domain], AssessedDomain)]
        for model in stage.models if stating else ():
            lines = list(read_lines(folders[name].scores / f"{model}.jsonl"))
            for domain in stating:
                if own := bins(line for line in lines if line["domain"] == domain):
                    found.setdefault(model, {})[domain] = own
    return found


def mode_paths(recipe: Recipe, folders: Mapping[str, StageDir]) -> dict[str, dict[str, list[Point]]]:
    """Each `grpo` stage's way over training, mode by mode; a step that lacks a mode's numbers is left out."""
    stages = [name for name, stage in recipe.stages.items() if isinstance(stage, GrpoConfig)]
    found = {name: _paths(_modes(recipe, name), list(read_lines(folders[name].metrics))) for name in stages}
    return {name: paths for name, paths in found.items() if paths}


def _modes(recipe: Recipe, stage: str) -> tuple[str, ...]:
    """The think modes of a stage, in the order of the recipe."""
    own = recipe.stages[stage].modes or recipe.modes
    return tuple(mode for mode in recipe.modes if mode in own)


def _paths(modes: Iterable[str], lines: Sequence[dict[str, Any]]) -> dict[str, list[Point]]:
    paths = {
        mode: [
            {"step": line["step"], "accuracy": line[f"accuracy/{mode}"], "mean_tokens": line[f"length/{mode}"]}
            for line in lines
            if f"accuracy/{mode}" in line and f"length/{mode}" in line
        ]
        for mode in modes
    }
    return {mode: path for mode, path in paths.items() if path}


def ends(path: Sequence[Point]) -> dict[str, Point]:
    """Where a path begins and where it ends, each the mean of a tenth of its points."""
    count = max(1, round(ENDS * len(path)))
    return {"start": mean_point(path[:count]), "end": mean_point(path[-count:])}


def mean_point(points: Sequence[Point]) -> Point:
    """The mean of each field."""
    return {field: sum(point[field] for point in points) / len(points) for field in points[0]}


def _scores(recipe: Recipe, run: RunDir) -> list[Score]:
    """Of all `eval` stages, in the order of the recipe's models."""
    folders = stage_folders(recipe, run)
    found = []
    for name, stage in recipe.stages.items():
        if isinstance(stage, EvalConfig):
            for model in stage.models:
                found += read_json(folders[name].scores / f"{model}.json") or []
    return found


class Accuracy(NamedTuple):
    """In one domain, averaged over the modes; the variance is that of the mean, over prompts and samples."""

    mean: float
    variance: float


def kept(recipe: Recipe, scores: Iterable[Score]) -> dict[str, dict[str, dict[str, float]]]:
    """What each scored model has of the teachers of the recipe's first distillation, averaged over the modes.

    Model -> domain: `retention` is model / teacher, `normalized` is (model - start) / (teacher - start) in the domains
    whose teacher is ahead of the start, with the mean over them (MOPD, arXiv 2606.30406, table 2) and its standard
    error. The start is what was there before any teacher taught. `normalized` has no model that is not scored in all of
    these domains, and neither has the start; both are empty for a recipe without distillation.
    """
    found = accuracies(scores)
    distilled = next((stage for stage in recipe.stages.values() if isinstance(stage, OpdConfig)), None)
    origin = _untaught(recipe, distilled) if distilled else ""
    retention: dict[str, dict[str, float]] = {}
    normalized: dict[str, dict[str, float]] = {}
    variances: dict[str, list[float]] = {}
    for model in dict.fromkeys(model for model, _ in found) if distilled else ():
        assert distilled is not None
        for domain, teacher in distilled.teacher_models.items():
            own, expert, start = (found.get((name, domain)) for name in (model, teacher, origin))
            if model == origin or own is None or expert is None or not expert.mean:
                continue
            retention.setdefault(model, {})[domain] = own.mean / expert.mean
            if start is not None and expert.mean > start.mean:
                share, variance = _normalized(own, expert, start) if model != teacher else (1.0, 0.0)
                normalized.setdefault(model, {})[domain] = share
                variances.setdefault(model, []).append(variance)
    most = max(map(len, normalized.values()), default=0)
    normalized = {model: shares for model, shares in normalized.items() if len(shares) == most}
    for model, shares in normalized.items():
        count = len(shares)
        shares |= {"mean": sum(shares.values()) / count, "stderr": math.sqrt(sum(variances[model])) / count}
    return {"retention": retention, "normalized": normalized}


def _untaught(recipe: Recipe, stage: TaughtConfig) -> str:
    """What a stage began from, or the one before it where that was taught as well."""
    while isinstance(before := recipe.stages.get(stage.from_), TaughtConfig):
        stage = before
    return stage.from_


def _normalized(own: Accuracy, teacher: Accuracy, start: Accuracy) -> tuple[float, float]:
    """(own - start) / (teacher - start), and its variance to first order, as of three samples apart."""
    gain = teacher.mean - start.mean
    share = (own.mean - start.mean) / gain
    return share, (own.variance + share**2 * teacher.variance + (1 - share) ** 2 * start.variance) / gain**2


def accuracies(scores: Iterable[Score]) -> dict[tuple[str, str], Accuracy]:
    """By (model, domain); what two stages have scored counts once, for their tasks are the same."""
    groups: dict[tuple[str, str], dict[str, Score]] = {}
    for score in scores:
        groups.setdefault((score["model"], score["domain"]), {})[score["mode"]] = score
    return {
        key: Accuracy(
            sum(score["accuracy"] for score in own.values()) / len(own),
            sum(score["stderr"] ** 2 for score in own.values()) / len(own) ** 2,
        )
        for key, own in groups.items()
    }


def _stage(name: str, folder: StageDir) -> dict[str, Any]:
    state = folder.read_state()
    fields = ("kind", "status", "seconds", "peak_memory_bytes", "attempts", "fingerprint", "data_sha256")
    return {"name": name} | {field: state.get(field) for field in fields} | {"status": state.get("status", "new")}
