"""The report of a run: one HTML page that needs nothing else, its figures as PNG files, and `summary.json`."""

import base64
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from polymath.plots import (
    DASHES,
    Colours,
    Series,
    colours_of,
    draw_calibration,
    draw_curves,
    draw_frontier,
    draw_modes,
    draw_scores,
    shown,
)
from polymath.recipe import Recipe
from polymath.rollouts_page import write_page
from polymath.run_dir import RunDir, StageDir, read_json, read_lines, write_json, write_text
from polymath.summary import Score, accuracies, calibrations, mode_paths, stage_folders, summarise

MERGING = "opd", "off_policy", "merge"  # kinds of stages that make one model of several
SAMPLES_SHOWN = 2  # of each domain and mode, right and wrong ones
FRONTIER = (
    "Held-out accuracy over the tokens that a completion takes: a line joins the modes of one model, whiskers are one "
    "standard error. Up and to the left is better."
)
MODES = (
    "Accuracy over tokens in the course of reinforcement, one path for each mode, from the ring to the full dot. Pale "
    "dots are the logged steps; where they are many, the path is their mean over equal parts of training."
)
JUDGING = (
    "How often the judge agrees with the verifiers about answers that no training sees, and what it and they say of "
    "the sampled completions: a judge's score that leaves the verifier's behind is a judge that is being fooled."
)
SCORES = "rubric", "verifier"
CALIBRATION = (
    "What the verifier says of held-out answers, over what the model itself has said of them. On the line a model "
    "knows what its answers are worth; below it, it thinks too much of them. Larger dots stand for more answers."
)


def hardware(found: Mapping[str, Any] | None) -> str:
    """What a run had, of its manifest: the GPUs, equal ones counted, or else the CPU."""
    if not found:
        return ""
    counted = Counter(found["gpus"]).items()
    gpus = ", ".join(f"{count} x {kind}" if count > 1 else kind for kind, count in counted)
    return gpus or f"{found['cpu']}, {found['cores']} cores"


def write_report(recipe: Recipe, run: RunDir) -> Path:
    """Write `report/` from what the run has so far; the path of the page."""
    summary = summarise(recipe, run)
    run.report.mkdir(parents=True, exist_ok=True)
    write_json(run.summary, summary)
    folders = stage_folders(recipe, run)
    figures = [
        {"title": title, "caption": caption, "image": base64.b64encode(path.read_bytes()).decode()}
        for title, caption, path in _draw(recipe, run, folders, summary)
    ]
    manifest, environment = read_json(run.manifest) or {}, _environment()
    page = environment.get_template("report.html.j2").render(
        recipe=recipe,
        run=run.path.name,
        summary=summary,
        manifest=manifest,
        hardware=hardware(manifest.get("hardware")),
        tiles=_tiles(recipe, summary),
        table=_table(recipe, summary),
        figures=figures,
        samples=_samples(recipe, folders),
        rollouts=write_page(recipe, run, folders, environment),
        date=time.strftime("%Y-%m-%d %H:%M"),
    )  # fmt: skip
    path = run.report / "index.html"
    write_text(path, page)
    return path


def _environment() -> Environment:
    environment = Environment(loader=PackageLoader("polymath"), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = lambda value: f"{100 * value:.1f}"
    environment.filters["mebibytes"] = lambda value: f"{value / 2**20:,.0f} MiB" if value else ""
    return environment


def _draw(
    recipe: Recipe, run: RunDir, folders: dict[str, StageDir], summary: dict[str, Any]
) -> list[tuple[str, str, Path]]:
    colours = colours_of(recipe.modes)
    drawn = []
    if summary["scores"]:
        path = run.report / "scores.png"
        draw_scores(summary["scores"], colours, path)
        drawn.append(
            ("Scores", "Sampled accuracy on tasks that no stage has seen; whiskers are one standard error.", path)
        )
    path = run.report / "frontier.png"
    if draw_frontier(summary["scores"], shown_model(recipe, summary["scores"]), colours, path):
        drawn.append(("What thinking buys", FRONTIER, path))
    path = run.report / "modes.png"
    if draw_modes(mode_paths(recipe, folders), colours, path):
        drawn.append(("Modes in training", MODES, path))
    path = run.report / "calibration.png"
    if draw_calibration(calibrations(recipe, folders), path):
        drawn.append(("Calibration", CALIBRATION, path))
    curves = {
        "rl": ("Reinforcement", "Verified reward of the sampled completions, and tokens a completion by think mode.",
               {"verified reward": _series(recipe, folders, "grpo", "reward/verifier"),
                "completion length, tokens": _series(recipe, folders, "grpo", "length/", recipe.modes)}),
        "judging": ("Judging", JUDGING,
                    {"agreement on held-out answers": _series(recipe, folders, "judged", "judge/agreement"),
                     "mean score of completions": _series(recipe, folders, "judged", "reward/", SCORES)}),
        "distillation": ("Distillation", "Divergence of the student from each teacher, and its completions' length.",
               {"KL(student || teacher), nats a token": _series(recipe, folders, "opd", "kl/", recipe.domains),
                "completion length, tokens": _series(recipe, folders, "opd", "length/", recipe.modes)}),
        "sft": ("Fine-tuning", "Loss on the demonstrations, or on what specialists wrote.",
               {"loss, nats a token": {**_series(recipe, folders, "sft", "train/loss"),
                                       **_series(recipe, folders, "off_policy", "train/loss")}}),
    }  # fmt: skip
    for name, (title, caption, panels) in curves.items():
        path = run.report / f"{name}.png"
        if draw_curves(panels, _styles(recipe, colours), path):
            drawn.append((title, caption, path))
    return drawn


def shown_model(recipe: Recipe, scores: Sequence[Score]) -> str:
    """The model that a run is for: the first distilled one, else one merged otherwise, else the last one scored."""
    models = list(dict.fromkeys(score["model"] for score in scores))
    merged = [model for kind in MERGING for model in models if getattr(recipe.stages.get(model), "kind", "") == kind]
    return [*merged, *reversed(models), ""][0]


def _series(
    recipe: Recipe, folders: dict[str, StageDir], kind: str, metric: str, parts: Iterable[str] = ("",)
) -> Series:
    """A line to draw for each stage of a kind and each part of a metric's name, where it was logged."""
    series: dict[str, list[tuple[float, float]]] = {}
    for name in _stages(recipe, kind):
        lines = list(read_lines(folders[name].metrics))
        for key in (metric + part for part in parts):
            points = [(line["step"], line[key]) for line in lines if key in line]
            series |= {_label(name, key.removeprefix(metric)): points} if points else {}
    return series


def _styles(recipe: Recipe, colours: Colours) -> dict[str, tuple[str, str]]:
    """Colour and dashes of the lines of modes: a colour a mode, dashes a stage."""
    return {
        _label(name, mode): (colour, DASHES[place % len(DASHES)])
        for kind in ("grpo", "opd")
        for place, name in enumerate(_stages(recipe, kind))
        for mode, colour in colours.items()
    }


def _stages(recipe: Recipe, kind: str) -> list[str]:
    """Names of the stages of a kind, or of those that have a judge."""
    if kind == "judged":
        return [name for name, stage in recipe.stages.items() if getattr(stage, "judge", None)]
    return [name for name, stage in recipe.stages.items() if stage.kind == kind]


def _label(stage: str, part: str) -> str:
    return f"{stage} {shown(part)}".strip()


def _tiles(recipe: Recipe, summary: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The facts to see first: number, what it is, and a remark."""
    model = shown_model(recipe, summary["scores"])
    tiles = [
        (f"{100 * value:.1f}%", f"of the {domain} specialist kept", f"{model} / specialist")
        for domain, value in summary["retention"].get(model, {}).items()
    ]
    if model in summary["normalized"]:
        own = summary["normalized"][model]
        remark = f"\u00b1 {own['stderr']:.3f}; 0 = the start, 1 = the specialists"
        tiles.append((f"{own['mean']:.3f}", "normalized score", remark))
    seconds = sum(stage["seconds"] or 0 for stage in summary["stages"])
    tiles.append((f"{seconds:,.0f} s", "in all stages", f"{len(summary['stages'])} stages, seed {recipe.seed}"))
    return tiles


def _table(recipe: Recipe, summary: dict[str, Any]) -> dict[str, Any]:
    """Models by (domain, mode), with each domain's mean; the merged model is marked."""
    scores = summary["scores"]
    means = {key: own.mean for key, own in accuracies(scores).items()}
    cells = {(score["model"], score["domain"], score["mode"]): score for score in scores}
    domains = list(dict.fromkeys(score["domain"] for score in scores))
    modes = list(dict.fromkeys(score["mode"] for score in scores))
    merged = {name for name, stage in recipe.stages.items() if stage.kind in MERGING}
    rows = [
        {
            "model": model,
            "merged": model in merged,
            "cells": [[cells.get((model, domain, mode)) for mode in modes] for domain in domains],
            "means": [means.get((model, domain)) for domain in domains],
            "normalized": summary["normalized"].get(model),
        }
        for model in dict.fromkeys(score["model"] for score in scores)
    ]
    return {"domains": domains, "modes": modes, "rows": rows, "normalized": bool(summary["normalized"])}


def _samples(recipe: Recipe, folders: dict[str, StageDir]) -> list[dict[str, Any]]:
    """Completions of the merged model (else of the last one scored), right and wrong, for each domain and mode."""
    for name, stage in reversed(recipe.stages.items()):
        if stage.kind != "eval":
            continue
        names = getattr(stage, "models")  # noqa: B009
        model = next((m for m in reversed(names) if (folders[name].scores / f"{m}.jsonl").exists()), names[-1])
        lines = list(read_lines(folders[name].scores / f"{model}.jsonl"))
        groups: dict[tuple[str, str, bool], list[dict[str, Any]]] = {}
        for line in lines:
            groups.setdefault((line["domain"], line["mode"], line["reward"] == 1.0), []).append(line)
        return [sample | {"model": model} for group in groups.values() for sample in group[:SAMPLES_SHOWN]]
    return []
