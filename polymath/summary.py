"""A run in numbers: scores, what the merged model kept, and what each stage took."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from distill.config import OpdConfig
from distill.merge_config import MergeConfig
from distill.off_policy_config import OffPolicyConfig
from polymath.eval_config import EvalConfig
from polymath.recipe import Recipe
from polymath.run_dir import RunDir, StageDir, read_json, read_lines
from polymath.stage import BASE
from rl.config import GrpoConfig

Score = dict[str, Any]  # model, domain, mode, accuracy, stderr, mean_tokens, n
Point = dict[str, float]  # step, accuracy, mean_tokens: of one mode at one logged step of training
BASELINES = (MergeConfig, OffPolicyConfig)  # what on-policy distillation is compared with
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
        "baselines": baselines(recipe, scores),
        "modes": {
            stage: {mode: ends(path) for mode, path in paths.items()}
            for stage, paths in mode_paths(recipe, stage_folders(recipe, run)).items()
        },
        "stages": [_stage(name, folder) for name, folder in stage_folders(recipe, run).items()],
    }


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


def kept(recipe: Recipe, scores: Iterable[Score]) -> dict[str, dict[str, float]]:
    """What the merged model keeps of its teachers, domain by domain, each averaged over the modes.

    `retention` is student / teacher, `normalized` is (student - start) / (teacher - start) with its mean over the
    domains (MOPD, arXiv 2606.30406, table 2). Both are empty for a recipe without distillation.
    """
    by_model = domain_means(scores)
    retention: dict[str, float] = {}
    normalized: dict[str, float] = {}
    for name, stage in recipe.stages.items():
        if isinstance(stage, OpdConfig):
            for domain, teacher in stage.teacher_models.items():
                student, expert = by_model.get((name, domain)), by_model.get((teacher, domain))
                if student is not None and expert:
                    retention[domain] = student / expert
            normalized |= _normalized(name, stage, by_model)
    return {"retention": retention, "normalized": _with_mean(normalized)}


def baselines(recipe: Recipe, scores: Iterable[Score]) -> dict[str, dict[str, float]]:
    """`normalized`, as in `kept`, of each other stage that makes one model of a distillation's teachers."""
    by_model = domain_means(scores)
    distilled = [stage for stage in recipe.stages.values() if isinstance(stage, OpdConfig)]
    found = {
        name: _with_mean(_normalized(name, distillation, by_model))
        for name, stage in recipe.stages.items()
        for distillation in distilled
        if isinstance(stage, BASELINES) and set(distillation.teacher_models.values()) <= set(stage.parents())
    }
    return {name: normalized for name, normalized in found.items() if normalized}


def _normalized(model: str, distillation: OpdConfig, by_model: Mapping[tuple[str, str], float]) -> dict[str, float]:
    """Domain -> (model - start) / (teacher - start), where all three were scored and the teacher learned something."""
    found = {}
    for domain, teacher in distillation.teacher_models.items():
        own, expert, start = (by_model.get((name, domain)) for name in (model, teacher, distillation.from_))
        if own is not None and expert and start is not None and expert != start:
            found[domain] = (own - start) / (expert - start)
    return found


def _with_mean(values: dict[str, float]) -> dict[str, float]:
    return values | {"mean": sum(values.values()) / len(values)} if values else {}


def domain_means(scores: Iterable[Score]) -> dict[tuple[str, str], float]:
    """(model, domain) -> accuracy, averaged over the modes."""
    groups: dict[tuple[str, str], list[float]] = {}
    for score in scores:
        groups.setdefault((score["model"], score["domain"]), []).append(score["accuracy"])
    return {key: sum(values) / len(values) for key, values in groups.items()}


def _stage(name: str, folder: StageDir) -> dict[str, Any]:
    state = folder.read_state()
    fields = ("kind", "status", "seconds", "peak_memory_bytes", "attempts", "fingerprint", "data_sha256")
    return {"name": name} | {field: state.get(field) for field in fields} | {"status": state.get("status", "new")}
