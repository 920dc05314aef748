"""The report of a run whose numbers are known: what the figures show, what the page and summary.json hold."""

import html
import json
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from polymath.evaluate import Check, summarise
from polymath.execution import locked, show_report
from polymath.plots import INK, PALETTE, STATIONS, colours_of, draw_frontier, draw_modes, frontiers, stations
from polymath.recipe import Recipe, load_recipe
from polymath.report import hardware, shown_model, write_report
from polymath.run_dir import RunDir, append_line, read_json, write_json
from polymath.summary import kept, stage_folders

MODES = ("non_think", "high", "max")
STEPS = 150
TOKENS = {"non_think": (40.0, 40.0), "high": (170.0, 140.0), "max": (330.0, 560.0)}  # before and after training
ACCURACY = {"non_think": (0.2, 0.5), "high": (0.5, 0.75), "max": (0.5, 0.875)}
Figures = dict[str, Figure]


def recipe_of(folder: Path, modes: Sequence[str]) -> Recipe:
    content = {
        "name": "known",
        "model": {"init": "qwen3"},
        "domains": {"math": {"kind": "math"}, "agent": {"kind": "agent"}},
        "modes": {mode: {"think": "high", "max_completion_length": 600} for mode in modes},
        "stages": {
            "format": {"kind": "sft", "domains": ["math", "agent"], "max_steps": 5},
            "grpo": {"kind": "grpo", "from": "format", "domains": ["math"], "max_steps": STEPS},
            "merged": {"kind": "opd", "from": "format", "teacher_models": {"math": "grpo"}, "max_steps": 5},
            "scores": {"kind": "eval", "models": ["format", "merged", "grpo"], "domains": ["math", "agent"]},
        },
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return load_recipe(path)


def value(ends: tuple[float, float], share: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * share


def training_line(step: int, modes: Sequence[str]) -> dict[str, float]:
    share = (step - 1) / (STEPS - 1)
    line: dict[str, float] = {"step": step, "reward/verifier": share, "length/mean": 99.0, "length/clipped_ratio": 0.1}
    line |= {
        "length/drift": 7.0,
        "length/drift/high": 7.0,
        "policy/entropy": 0.4,
        "kl/start": 0.1,
        "accuracy/mean": 0.5,
    }
    for mode in sorted(modes):
        if mode != "high" or step % 10:  # a batch may lack a mode
            line |= {f"length/{mode}": value(TOKENS[mode], share), f"accuracy/{mode}": value(ACCURACY[mode], share)}
            line |= {f"length/clipped_ratio/{mode}": 0.2, f"turns/{mode}": 1.0}
    return line


def score(model: str, domain: str, mode: str, accuracy: float, tokens: float) -> dict[str, Any]:
    stderr = math.sqrt(accuracy * (1 - accuracy) / 100)
    return {"model": model, "domain": domain, "mode": mode, "accuracy": accuracy, "stderr": stderr} | {
        "format": 1.0, "mean_tokens": tokens, "n": 100
    }  # fmt: skip


def fill(recipe: Recipe, run: RunDir, modes: Sequence[str]) -> None:
    folders = stage_folders(recipe, run)
    for folder in folders.values():
        folder.path.mkdir(parents=True, exist_ok=True)
    for step in range(1, STEPS + 1):
        append_line(folders["grpo"].metrics, training_line(step, modes))
    for step in (1, 2, 3):
        append_line(folders["format"].metrics, {"step": step, "train/loss": 1.0})
        opd = {"step": step, "kl/start": 9.0, "kl/math": 0.3, "length/drift": 9.0, "length/mean": 9.0}
        append_line(folders["merged"].metrics, opd | {f"length/{mode}": 50.0 for mode in modes})
    append_line(folders["grpo"].metrics, {"step": STEPS, "time/train": 12.0})
    for place, model in enumerate(("format", "merged", "grpo")):
        scores = [
            score(model, domain, mode, value(ACCURACY[mode], place / 2) - loss, value(TOKENS[mode], place / 2))
            for domain, loss in (("math", 0.0), ("agent", 0.1))
            for mode in modes
        ]
        write_json(folders["scores"].scores / f"{model}.json", scores)


@contextmanager
def saved() -> Iterator[Figures]:
    """Every figure that is saved meanwhile, by its file's name."""
    seen: Figures = {}
    save = Figure.savefig

    def kept(figure: Figure, path: Path, **options: Any) -> None:
        seen[path.stem] = figure
        save(figure, path, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", kept)
        yield seen


@pytest.fixture
def figures() -> Iterator[Figures]:
    with saved() as seen:
        yield seen


class Known(NamedTuple):
    """What is written of a run whose numbers are known."""

    folder: Path
    summary: dict[str, Any]
    figures: Figures


def write(place: Path, modes: Sequence[str] = MODES, seen: Sequence[str] | None = None) -> Known:
    """`seen` are the modes that the run has numbers of, all of them by default."""
    recipe, run = recipe_of(place, modes), RunDir(place / "run")
    fill(recipe, run, modes if seen is None else seen)
    with saved() as figures:
        write_report(recipe, run)
    return Known(run.report, read_json(run.summary), figures)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Known:
    """In all modes; nobody changes it."""
    return write(tmp_path_factory.mktemp("known"))


def left_by(run: RunDir, recipe: Recipe) -> None:
    """What a run that was killed leaves."""
    folders = stage_folders(recipe, run)
    for name in ("base", "format"):
        folders[name].update_state(status="done", kind="sft", seconds=1.0)
    folders["grpo"].update_state(status="running", kind="grpo")
    folders["merged"].update_state(status="failed", kind="opd", error="ValueError: a < b")
    for step in (5, 35):
        append_line(folders["grpo"].metrics, {"step": step, "train/loss": 1.0})


def test_the_report_of_a_killed_run_says_how_far_it_came(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, run = recipe_of(tmp_path, MODES), RunDir(tmp_path / "a run")
    left_by(run, recipe)
    lines = [
        "unfinished: 2 of 5 stages are done (base, format)",
        "grpo: was broken off at step 35 of 150",
        "merged: failed at step 0 of 5: ValueError: a < b",
        "not begun: scores",
        f"go on with: polymath resume '{run.path}'",
    ]
    show_report(recipe, run)
    shown = capsys.readouterr().out.splitlines()
    assert shown[: len(lines)] == lines
    page = html.unescape((run.report / "index.html").read_text())
    assert all(f"<p>{line}</p>" in page for line in lines)
    with locked(run):
        show_report(recipe, run)
        shown = capsys.readouterr().out.splitlines()
        assert shown[0].startswith("still running: 2 of 5") and shown[1] == "grpo: runs at step 35 of 150"
        assert not any("resume" in line for line in shown)


def test_a_finished_run_goes_on_with_nothing(tmp_path: Path) -> None:
    recipe, run = recipe_of(tmp_path, MODES), RunDir(tmp_path / "run")
    left_by(run, recipe)
    for folder in stage_folders(recipe, run).values():
        folder.update_state(status="done", kind="sft", seconds=1.0)
    page = write_report(recipe, run).read_text()
    assert read_json(run.summary)["unfinished"] == [] and "unfinished" not in page.partition("<body>")[2]


def points(line: Any) -> list[tuple[float, float]]:
    return list(zip(line.get_xdata(), line.get_ydata(), strict=True))


def colour(line: Any) -> str:
    return to_hex(line.get_color()).upper()


def texts(figure: Figure) -> list[list[Annotation]]:
    return [[text for text in axes.texts if isinstance(text, Annotation)] for axes in figure.axes]


def labels(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_the_page_holds_every_figure(known: Known) -> None:
    folder, _, figures = known
    assert list(figures) == ["scores", "frontier", "modes", "rl", "distillation", "sft"]
    assert all((folder / f"{name}.png").stat().st_size > 5000 for name in figures)
    page = (folder / "index.html").read_text()
    assert page.count("data:image/png;base64,") == len(figures)
    assert "What thinking buys" in page and "Modes in training" in page


def test_a_single_mode_has_no_frontier(tmp_path: Path) -> None:
    folder, summary, figures = write(tmp_path, ("high",))
    assert list(figures) == ["scores", "rl", "distillation", "sft"]
    page = (folder / "index.html").read_text()
    assert "What thinking buys" not in page and "Modes in training" not in page
    assert list(summary["modes"]["grpo"]) == ["high"]


def test_a_run_that_has_not_begun_is_reported(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    page = write_report(recipe_of(tmp_path, MODES), run)
    assert "<img" not in page.read_text()
    assert read_json(run.summary)["scores"] == [] and read_json(run.summary)["modes"] == {}


def test_the_summary_says_where_each_mode_began_and_ended(known: Known) -> None:
    summary = known.summary
    assert {"name", "seed", "scores", "retention", "normalized", "modes", "calibration", "stages", "unfinished"} == set(
        summary
    )
    assert len(summary["scores"]) == 3 * 2 * 3
    assert list(summary["modes"]) == ["grpo"] and list(summary["modes"]["grpo"]) == list(MODES)
    thinking = summary["modes"]["grpo"]["max"]
    assert thinking["start"]["step"] == 8 and thinking["end"]["step"] == 143  # means of 15 of 150 steps
    assert thinking["start"]["mean_tokens"] == pytest.approx(330 + 230 * 7 / 149)
    assert thinking["end"]["accuracy"] == pytest.approx(0.5 + 0.375 * 142 / 149)
    assert json.loads(json.dumps(summary)) == summary


def test_what_baselines_keep_stands_beside_what_the_distillation_does(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, ("high",))
    distillation = {"kind": "opd", "from": "format", "teacher_models": {"math": "grpo", "agent": "sft"}, "max_steps": 1}
    averages = {
        name: {"kind": "merge", "models": ["grpo", other]} for name, other in (("mean", "sft"), ("odd", "format"))
    }
    stages = recipe.dump()["stages"] | averages | {"merged": distillation}
    stages["shown"] = distillation | {"kind": "off_policy"}
    stages["sft"] = {"kind": "sft", "from": "format", "domains": ["agent"], "max_steps": 1}
    recipe = Recipe.model_validate(recipe.dump() | {"stages": stages})
    accuracies = {  # math, agent
        "format": (0.25, 0.5), "grpo": (0.75, 0.0), "sft": (0.0, 0.75), "merged": (0.625, 0.75), "mean": (0.5, 0.375),
        "odd": (0.5, 0.5), "shown": (0.25, 0.75),
    }  # fmt: skip
    scores = [
        score(model, domain, "high", accuracy, 10.0)
        for model, own in accuracies.items()
        for domain, accuracy in zip(("math", "agent"), own, strict=True)
    ]
    found = kept(recipe, scores)
    assert found["retention"]["merged"] == {"math": pytest.approx(5 / 6), "agent": 1.0}
    assert found["normalized"]["mean"].keys() == {"math", "agent", "mean", "stderr"}
    shares = {name: {key: own[key] for key in own if key != "stderr"} for name, own in found["normalized"].items()}
    assert shares == {
        "grpo": {"math": 1.0, "agent": -2.0, "mean": -0.5},
        "sft": {"math": -0.5, "agent": 1.0, "mean": 0.25},
        "merged": {"math": 0.75, "agent": 1.0, "mean": 0.875},
        "mean": {"math": 0.5, "agent": -0.5, "mean": 0.0},
        "odd": {"math": 0.5, "agent": 0.0, "mean": 0.25},
        "shown": {"math": 0.0, "agent": 1.0, "mean": 0.5},
    }
    assert kept(recipe, [own for own in scores if own["model"] == "format"]) == {"retention": {}, "normalized": {}}
    again = Recipe.model_validate(recipe.dump() | {"stages": recipe.dump()["stages"] | {"again": distillation}})
    scores.append(score("again", "math", "high", 0.9, 10.0))
    assert shown_model(again, scores) == "merged"  # the first distillation
    assert shown_model(again, [own for own in scores if own["model"] not in ("merged", "again")]) == "shown"
    assert shown_model(again, scores[:4]) == "grpo" and shown_model(again, []) == ""


def test_what_was_taught_in_two_stages_is_measured_from_before_both(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, ("high",))
    stages = recipe.dump()["stages"]
    stages["merged"] |= {"from": "taught"}
    stages["taught"] = {"kind": "off_policy", "from": "format", "teacher_models": {"math": "grpo"}, "max_steps": 1}
    stages["scores"]["models"] = ["format", "grpo", "taught", "merged"]
    recipe = Recipe.model_validate(recipe.dump() | {"stages": stages})
    accuracies = {"format": 0.25, "grpo": 0.75, "taught": 0.7, "merged": 0.875}
    scores = [score(model, "math", "high", accuracy, 10.0) for model, accuracy in accuracies.items()]
    found = kept(recipe, scores)
    assert {name: own["math"] for name, own in found["normalized"].items()} == {
        "grpo": 1.0, "taught": pytest.approx(0.9), "merged": 1.25,
    }  # fmt: skip
    assert "format" not in found["retention"]


def test_a_teacher_that_fell_behind_the_start_is_no_measure(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, ("high",))
    stages = recipe.dump()["stages"]
    stages["merged"] |= {"teacher_models": {"math": "grpo", "agent": "sft"}, "domains": ["math", "agent"]}
    stages["sft"] = {"kind": "sft", "from": "format", "domains": ["agent"], "max_steps": 1}
    recipe = Recipe.model_validate(recipe.dump() | {"stages": stages})
    accuracies = {"format": (0.25, 0.5), "grpo": (0.75, 0.0), "sft": (0.0, 0.4), "merged": (0.5, 0.9)}
    scores = [
        score(model, domain, "high", accuracy, 10.0)
        for model, own in accuracies.items()
        for domain, accuracy in zip(("math", "agent"), own, strict=True)
    ]
    assert {key: own for key, own in kept(recipe, scores)["normalized"]["merged"].items() if key != "stderr"} == {
        "math": 0.5, "mean": 0.5,
    }  # fmt: skip
    twice = kept(recipe, [*scores, *scores])
    assert twice == kept(recipe, scores)
    scores[5] = score("sft", "agent", "high", 0.75, 10.0)  # agent counts now
    assert "merged" in kept(recipe, scores)["normalized"]
    assert "merged" not in kept(recipe, scores[:-1])["normalized"]  # in math alone it is compared with nothing


@pytest.mark.parametrize(("right", "n"), [(0, 8), (8, 8), (3, 8), (250, 500)])
def test_no_accuracy_of_few_tasks_is_certain(right: int, n: int) -> None:
    found = summarise([Check(float(place < right), {}, True) for place in range(n)], [1] * n)
    known = np.random.default_rng(0).beta(1 + right, 1 + n - right, 200_000)  # what so many ones and zeros leave open
    assert found["accuracy"] == right / n and found["stderr"] == pytest.approx(known.std(), rel=0.02)


def test_a_normalized_score_says_how_far_chance_moves_it(tmp_path: Path) -> None:
    recipe, n, draw = recipe_of(tmp_path, ("high", "max")), 400, np.random.default_rng(0)
    truth = {"format": (0.2, 0.4), "grpo": (0.6, 0.9), "merged": (0.7, 0.5)}

    def measured() -> dict[str, dict[str, float]]:
        scores = []
        for model, of_modes in truth.items():
            for mode, accuracy in zip(("high", "max"), draw.binomial(n, of_modes) / n, strict=True):
                stderr = math.sqrt(accuracy * (1 - accuracy) / n)
                scores.append(score(model, "math", mode, accuracy, 10.0) | {"stderr": stderr})
        return kept(recipe, scores)["normalized"]

    runs = [measured() for _ in range(2000)]
    assert all(run["grpo"] == {"math": 1.0, "mean": 1.0, "stderr": 0.0} for run in runs)
    spread = np.std([run["merged"]["mean"] for run in runs])
    assert np.mean([run["merged"]["stderr"] for run in runs]) == pytest.approx(spread, rel=0.05)


def test_lengths_of_modes_alone_are_drawn(known: Known) -> None:
    figures = known.figures
    _, lengths = figures["rl"].axes
    assert labels(lengths) == ["grpo non-think", "grpo high", "grpo max"]
    assert [colour(line) for line in lengths.get_lines()] == list(PALETTE[:3])
    divergence, lengths = figures["distillation"].axes
    assert labels(divergence) == ["merged math"]
    assert labels(lengths) == ["merged non-think", "merged high", "merged max"]
    assert labels(figures["rl"].axes[0]) == ["grpo"]


def test_a_mode_keeps_its_colour_where_others_are_missing(tmp_path: Path) -> None:
    figures = write(tmp_path, seen=("high", "max")).figures
    for axes in (figures["rl"].axes[1], figures["distillation"].axes[1], figures["modes"].axes[0]):
        assert list(dict.fromkeys(colour(line) for line in axes.get_lines())) == list(PALETTE[1:3])
    bars = figures["scores"].axes[0].patches
    assert list(dict.fromkeys(to_hex(bar.get_facecolor()).upper() for bar in bars)) == list(PALETTE[1:3])


def test_each_mode_has_a_path_from_ring_to_dot(known: Known) -> None:
    figures = known.figures
    (axes,) = figures["modes"].axes
    assert axes.get_title(loc="left") == "grpo"
    for place, mode in enumerate(MODES):
        path, ring, dot = axes.get_lines()[3 * place : 3 * place + 3]
        assert {colour(line) for line in (path, ring, dot)} == {PALETTE[place]}
        first, *_, last = points(path)
        assert len(points(path)) == STATIONS[1]
        assert points(ring) == [first] and points(dot) == [last]
        assert ring.get_markerfacecolor() == "white" and dot.get_markerfacecolor() != "white"
        before, after = ACCURACY[mode]
        assert 100 * after > last[1] > 100 * (after - 0.1 * (after - before))
        assert 100 * before < first[1] < 100 * (before + 0.1 * (after - before))
    names = texts(figures["modes"])[0]
    assert [text.get_text() for text in names] == ["non-think", "high", "max"]
    assert [text.xy for text in names] == [points(dot)[0] for dot in axes.get_lines()[2::3]]


def test_each_model_has_a_line_through_its_modes(known: Known) -> None:
    figures = known.figures
    assert [axes.get_title(loc="left") for axes in figures["frontier"].axes] == ["math", "agent"]
    for axes, loss in zip(figures["frontier"].axes, (0, 10), strict=True):
        joined = [line for line in axes.get_lines() if len(points(line)) == 3]
        assert [colour(line) for line in joined] == [PALETTE[3], PALETTE[4], INK]
        final = points(joined[-1])  # the merged model, though it is not the last one scored
        assert [tokens for tokens, _ in final] == [40.0, 155.0, 445.0]
        assert [accuracy for _, accuracy in final] == pytest.approx([35 - loss, 62.5 - loss, 68.75 - loss])
        assert len(axes.containers) == 9  # whiskers
    names = [[text.get_text() for text in own] for own in texts(figures["frontier"])]
    assert names == [["non-think", "high", "max"]] * 2
    assert [text.get_text() for text in figures["frontier"].legends[0].get_texts()] == ["format", "merged", "grpo"]


def test_whiskers_are_one_standard_error(known: Known) -> None:
    expected = {
        (s["mean_tokens"], round(100 * s["stderr"], 6)) for s in known.summary["scores"] if s["domain"] == "math"
    }
    found = set()
    for bars in known.figures["frontier"].axes[0].containers:
        ((low, high),) = bars[2][0].get_segments()  # pyright: ignore[reportIndexIssue]
        found.add((low[0], round((high[1] - low[1]) / 2, 6)))
    assert found == expected


def assert_readable(figure: Figure) -> None:
    """No text over another one, none over a panel's edge."""
    figure.draw_without_rendering()
    for axes, own in zip(figure.axes, texts(figure), strict=True):
        boxes = [text.get_window_extent() for text in own]
        assert not any(first.overlaps(second) for first, second in combinations(boxes, 2))
        frame = axes.bbox.padded(1)
        assert all(
            frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1 for box in boxes
        )


def test_texts_can_be_read(known: Known, figures: Figures, tmp_path: Path) -> None:
    assert_readable(known.figures["modes"])
    assert_readable(known.figures["frontier"])
    colours = dict(zip("abcd", PALETTE, strict=False))
    crowded = [score("m", "math", mode, 0.99 + 0.002 * place, 20.0 + place) for place, mode in enumerate(colours)]
    assert draw_frontier(crowded, "m", colours, tmp_path / "crowded.png")
    assert_readable(figures["crowded"])
    bottom, top = figures["crowded"].axes[0].get_ylim()
    assert bottom < 90 and top < 105 and max(figures["crowded"].axes[0].get_yticks()) <= 100


def test_a_mode_is_named_beside_its_own_point(figures: Figures, tmp_path: Path) -> None:
    colours = colours_of(MODES)
    near = {"format": {"non_think": (0.516, 4.54), "high": (0.992, 25.63), "max": (0.977, 25.59)}}
    near["merged"] = {"non_think": (0.547, 4.52), "high": (0.992, 25.65), "max": (0.961, 25.57)}
    scores = [
        score(model, domain, mode, *place)
        for domain in ("math", "agent", "code")  # three panels in a row leave little room
        for model, places in near.items()
        for mode, place in places.items()
    ]
    assert draw_frontier(scores, "merged", colours, tmp_path / "near.png")
    assert_readable(figures["near"])
    for own in texts(figures["near"]):
        boxes = {text.get_text(): text.get_window_extent() for text in own}
        assert boxes["high"].y0 + boxes["high"].y1 > boxes["max"].y0 + boxes["max"].y1


@pytest.mark.parametrize("place", [(0.0, 0.0), (1.0, 9.0), (0.5, 25_000.0)])
def test_modes_at_one_point_are_drawn(place: tuple[float, float], figures: Figures, tmp_path: Path) -> None:
    accuracy, tokens = place
    point = {"step": 1, "accuracy": accuracy, "mean_tokens": tokens}
    colours = {"high": PALETTE[0], "max": PALETTE[1]}
    assert draw_modes({"grpo": {"high": [point], "max": [point]}}, colours, tmp_path / "modes.png")
    scores = [score("m", "d", mode, accuracy, tokens) for mode in colours]
    assert draw_frontier(scores, "m", colours, tmp_path / "frontier.png")
    for name in ("modes", "frontier"):
        assert_readable(figures[name])
    assert not draw_frontier(scores[:1], "m", colours, tmp_path / "none.png")
    assert not draw_modes({"grpo": {"high": [point]}}, colours, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


@pytest.mark.parametrize(("count", "left"), [(1, 1), (8, 8), (20, 8), (80, 10), (150, 12), (151, 12)])
def test_a_path_keeps_its_mean_and_its_order(count: int, left: int) -> None:
    path = [{"step": step, "accuracy": step / count, "mean_tokens": 2.0} for step in range(count)]
    smooth = stations(path)
    assert len(smooth) == left and smooth == sorted(smooth, key=lambda point: point["step"])
    if count % left == 0:
        assert sum(p["step"] for p in smooth) / left == pytest.approx(sum(p["step"] for p in path) / count)


def test_a_frontier_needs_two_modes_of_one_model() -> None:
    short, long = score("a", "math", "high", 0.9, 50), score("a", "math", "max", 0.8, 20)
    alone = score("b", "math", "high", 0.9, 10)
    assert frontiers([short, long, alone]) == {"math": {"a": [long, short]}}
    again = score("a", "math", "high", 0.5, 60)  # scored by a second stage: the last counts
    assert frontiers([short, again]) == {}
    assert frontiers([short, long, again]) == {"math": {"a": [long, again]}}


def test_equal_gpus_are_counted() -> None:
    found = {"cpu": "AMD EPYC", "cores": 2, "gpus": []}
    assert hardware(None) == "" and hardware(found) == "AMD EPYC, 2 cores"
    assert hardware(found | {"gpus": ["H200", "H200", "L4"]}) == "2 x H200, L4"


def read_page(path: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), re.DOTALL)
    assert found
    return json.loads(found[1])


def test_what_was_sampled_can_be_read(tmp_path: Path) -> None:
    folder = stage_folders(recipe_of(tmp_path, MODES), RunDir(tmp_path / "run"))["grpo"]
    folder.path.mkdir(parents=True)
    hostile = "</script><script>alert(1)</script>"
    rollout = {"name": "1/0", "prompt": hostile, "turns": ["5"], "rewards": {"rubric": {"value": 0.5}}}
    judgment = {"purpose": "vote", "name": "1/64", "of": ["1/0"], "asked": "?", "reasoning": "", "content": "Scores: 1"}
    judgment |= {"labels": [], "scores": [1.0], "faults": []}
    rubric = {"task": "?", "asked": "Write down", "reasoning": "", "content": "- a", "rubric": None, "faults": ["none"]}
    for step in (1, 10):
        append_line(folder.rollouts, {"step": step} | rollout)
        append_line(folder.judgments, {"step": step} | judgment)
        append_line(folder.rubrics, {"step": step} | rubric)
    shown = write(tmp_path, seen=()).folder
    data = read_page(shown / "rollouts.html")
    kept = {"rollouts": [rollout], "judgments": [judgment], "rubrics": [rubric]}
    assert data["stages"] == {"grpo": dict.fromkeys(("1", "10"), kept)}
    assert data["notes"] == {} and 'href="rollouts.html"' in (shown / "index.html").read_text()
    assert "alert(1)" not in re.sub(
        "<script type.*?</script>", "", (shown / "rollouts.html").read_text(), flags=re.DOTALL
    )


def test_a_long_story_is_told_in_part(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("polymath.rollouts_page.MOST", 2500)
    folder = stage_folders(recipe_of(tmp_path, MODES), RunDir(tmp_path / "run"))["grpo"]
    folder.path.mkdir(parents=True)
    for step in range(1, 101):
        append_line(folder.rollouts, {"step": step, "prompt": "p" * 50, "turns": ["5"], "rewards": {}})
    shown = write(tmp_path, seen=()).folder
    data = read_page(shown / "rollouts.html")
    steps = list(map(int, data["stages"]["grpo"]))
    assert steps[0] == 1 and steps[-1] == 100 and 5 < len(steps) < 40
    apart = [b - a for a, b in pairwise(steps)]
    assert max(apart) - min(apart) <= 1
    assert data["notes"] == {
        "grpo": f"{len(steps)} of 100 steps; all are in 02-grpo/rollouts.jsonl, judgments.jsonl and rubrics.jsonl"
    }


def test_a_run_without_samples_has_no_page_of_them(tmp_path: Path) -> None:
    shown = write(tmp_path, seen=()).folder
    assert not (shown / "rollouts.html").exists() and "rollouts.html" not in (shown / "index.html").read_text()
