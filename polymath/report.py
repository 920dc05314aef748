"""The report of a run: one HTML page that needs nothing else, its figures as PNG files, and `summary.json`."""

import base64
import time
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from distill.config import OpdConfig
from polymath.plots import Series, draw_curves, draw_scores
from polymath.recipe import Recipe
from polymath.run_dir import RunDir, StageDir, read_json, read_lines, write_json, write_text
from polymath.summary import domain_means, stage_folders, summarise

SAMPLES_SHOWN = 2  # of each domain and mode, right and wrong ones


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
    page = _environment().get_template("report.html.j2").render(
        recipe=recipe,
        run=run.path.name,
        summary=summary,
        manifest=read_json(run.manifest) or {},
        tiles=_tiles(recipe, summary),
        table=_table(recipe, summary),
        figures=figures,
        samples=_samples(recipe, folders),
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
    drawn = []
    if summary["scores"]:
        path = run.report / "scores.png"
        draw_scores(summary["scores"], path)
        drawn.append(
            ("Scores", "Sampled accuracy on tasks that no stage has seen; whiskers are one standard error.", path)
        )
    curves = {
        "rl": ("Reinforcement", "Verified reward of the sampled completions, and tokens a completion by think mode.",
               {"verified reward": _series(recipe, folders, "grpo", "reward/verifier"),
                "completion length, tokens": _series(recipe, folders, "grpo", "length/")}),
        "distillation": ("Distillation", "Divergence of the student from each teacher, and its completions' length.",
               {"KL(student || teacher), nats a token": _series(recipe, folders, "opd", "kl/"),
                "completion length, tokens": _series(recipe, folders, "opd", "length/")}),
        "sft": ("Fine-tuning", "Loss on the demonstrations.",
               {"loss, nats a token": _series(recipe, folders, "sft", "train/loss")}),
    }  # fmt: skip
    for name, (title, caption, panels) in curves.items():
        path = run.report / f"{name}.png"
        if draw_curves(panels, path):
            drawn.append((title, caption, path))
    return drawn


def _series(recipe: Recipe, folders: dict[str, StageDir], kind: str, metric: str) -> Series:
    """Every line to draw of one metric, or of all that begin with it where it ends with a slash."""
    series: dict[str, list[tuple[float, float]]] = {}
    for name, stage in recipe.stages.items():
        if stage.kind != kind:
            continue
        for line in read_lines(folders[name].metrics):
            for key, value in line.items():
                if key == metric or (metric.endswith("/") and key.startswith(metric) and not _is_total(key)):
                    part = key.removeprefix(metric).replace("_", "-")
                    series.setdefault(f"{name} {part}".strip(), []).append((line["step"], value))
    return series


def _is_total(key: str) -> bool:
    return key in ("length/mean", "length/clipped_ratio", "kl/start")


def _tiles(recipe: Recipe, summary: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The facts to see first: number, what it is, and a remark."""
    tiles = [
        (f"{100 * value:.1f}%", f"of the {domain} specialist kept", "merged model / specialist")
        for domain, value in summary["retention"].items()
    ]
    if "mean" in summary["normalized"]:
        tiles.append((f"{summary['normalized']['mean']:.3f}", "normalized score", "0 = the start, 1 = the specialists"))
    seconds = sum(stage["seconds"] or 0 for stage in summary["stages"])
    tiles.append((f"{seconds:,.0f} s", "in all stages", f"{len(summary['stages'])} stages, seed {recipe.seed}"))
    return tiles


def _table(recipe: Recipe, summary: dict[str, Any]) -> dict[str, Any]:
    """Models by (domain, mode), with each domain's mean; the merged model is marked."""
    scores = summary["scores"]
    means = domain_means(scores)
    cells = {(score["model"], score["domain"], score["mode"]): score for score in scores}
    domains = list(dict.fromkeys(score["domain"] for score in scores))
    modes = list(dict.fromkeys(score["mode"] for score in scores))
    merged = {name for name, stage in recipe.stages.items() if isinstance(stage, OpdConfig)}
    rows = [
        {
            "model": model,
            "merged": model in merged,
            "cells": [[cells.get((model, domain, mode)) for mode in modes] for domain in domains],
            "means": [means.get((model, domain)) for domain in domains],
        }
        for model in dict.fromkeys(score["model"] for score in scores)
    ]
    return {"domains": domains, "modes": modes, "rows": rows}


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
