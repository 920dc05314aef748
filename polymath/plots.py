"""The report's figures, drawn with matplotlib; a mode has one colour in all of them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.path import Path as Way
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from polymath.calibration import Bin
from polymath.summary import Point, Score, mean_point

PALETTE = ("#4C6EF5", "#F76707", "#12B886", "#BE4BDB", "#FAB005", "#868E96", "#E64980", "#15AABF")
INK, FAINT = "#212529", "#DEE2E6"
DASHES = ("-", "--", ":", "-.")
Series = Mapping[str, Sequence[tuple[float, float]]]  # label -> (step, value)
Colours = Mapping[str, str]
Place = tuple[float, float]  # tokens, %
Segment = tuple[Place, ...]  # two ends of a line
Label = tuple[str, str, Place]  # text, colour, what it is written beside

PANELS_A_ROW, PANEL_WIDTH = 3, 5.2  # inches
PAGE_WIDTH = 10.4  # of a figure at least: the page shows all of them equally wide
STATIONS = (8, 12)  # of a path over training, at least and at most, where it has more points: means of equal parts
LIMITS, LEAST_SPAN = (-4.0, 104.0), 24.0  # of a scale of percents: room for dots at either end
WIDE_RANGE = 4.0  # lengths that differ more than this are shown on a logarithmic axis
# Where a label may stand about its point, the best first, and how it is aligned there
PLACES = ((1, 0), (-1, 0), (0, 1), (0, -1), (-1, 1), (1, -1), (1, 1), (-1, -1))
SIDES: dict[int, Literal["right", "center", "left"]] = {-1: "right", 0: "center", 1: "left"}
LEVELS: dict[int, Literal["top", "center", "bottom"]] = {-1: "top", 0: "center", 1: "bottom"}

mpl.rcParams.update(
    {
        "font.size": 10, "axes.edgecolor": FAINT, "axes.labelcolor": INK, "axes.titleweight": "bold",
        "axes.titlesize": 11, "axes.titlelocation": "left", "axes.spines.top": False, "axes.spines.right": False,
        "axes.grid": True, "axes.axisbelow": True, "grid.color": FAINT, "grid.linewidth": 0.6, "xtick.color": INK,
        "ytick.color": INK, "text.color": INK, "legend.frameon": False, "legend.fontsize": 9,
    }
)  # fmt: skip


def colours_of(modes: Iterable[str]) -> dict[str, str]:
    """A colour for each mode, by its place in the recipe."""
    return {mode: PALETTE[place % len(PALETTE)] for place, mode in enumerate(modes)}


def shown(mode: str) -> str:
    """A mode's name as people write it."""
    return mode.replace("_", "-")


def draw_scores(scores: Sequence[Score], colours: Colours, path: Path) -> None:
    """Accuracy of every model: one panel a domain, one bar a mode, whiskers of one standard error."""
    domains = list(dict.fromkeys(score["domain"] for score in scores))
    modes = list(dict.fromkeys(score["mode"] for score in scores))
    models = list(dict.fromkeys(score["model"] for score in scores))
    figure = Figure(figsize=(_width(len(domains)), 0.46 * len(models) + 1.3), layout="constrained")
    panels = figure.subplots(1, len(domains), sharey=True, squeeze=False)[0]
    for axes, domain in zip(panels, domains, strict=True):
        for place, mode in enumerate(modes):
            own = {score["model"]: score for score in scores if (score["domain"], score["mode"]) == (domain, mode)}
            _draw_bars(axes, models, own, (place, len(modes)), mode, colours[mode])
        axes.set(title=domain, xlim=(0, 100), xlabel="held-out accuracy, %")
        axes.set_yticks(range(len(models)), models)
        axes.grid(visible=False, axis="y")
        axes.tick_params(length=0)
    panels[0].invert_yaxis()
    panels[-1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.savefig(path, dpi=170)


def _draw_bars(
    axes: Axes, models: list[str], own: dict[str, Score], slot: tuple[int, int], mode: str, colour: str
) -> None:
    place, slots = slot
    height = 0.8 / slots
    rows = [index + (place - (slots - 1) / 2) * height for index in range(len(models))]
    values = [100 * own[model]["accuracy"] if model in own else 0.0 for model in models]
    errors = [100 * own[model]["stderr"] if model in own else 0.0 for model in models]
    axes.barh(
        rows, values, height * 0.92, xerr=errors, color=colour, label=shown(mode),
        error_kw={"ecolor": INK, "elinewidth": 0.8},
    )  # fmt: skip


def draw_curves(panels: Mapping[str, Series], styles: Mapping[str, tuple[str, str]], path: Path) -> bool:
    """One panel for each title, one line for each series; nothing is drawn, and False returned, without data.

    `styles` has colour and dashes, by label, of the series that do not take the next colour.
    """
    panels = {title: series for title, series in panels.items() if any(series.values())}
    if not panels:
        return False
    figure = Figure(figsize=(_width(len(panels)), 2.9), layout="constrained")
    axes_row: Iterable[Any] = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, series) in zip(axes_row, panels.items(), strict=True):
        for colour, (label, points) in zip(PALETTE * 3, series.items(), strict=False):
            if points:
                own, dashes = styles.get(label, (colour, "-"))
                axes.plot(*zip(*points, strict=True), dashes, color=own, label=label, linewidth=1.8)
        axes.set(title=title, xlabel="step")
        axes.tick_params(length=0)
        if title.startswith("loss"):
            axes.set_yscale("log")  # one stage begins where another has long been
        crowded = len(series) > 4  # no room for the legend within
        axes.legend(**({"loc": "center left", "bbox_to_anchor": (1, 0.5)} if crowded else {}))
    figure.savefig(path, dpi=170)
    return True


def draw_modes(stages: Mapping[str, Mapping[str, Sequence[Point]]], colours: Colours, path: Path) -> bool:
    """Accuracy over tokens in the course of training: one panel a stage, one path a mode, from a ring to a dot.

    A stage of a single mode is left out; nothing is drawn, and False returned, where none is left.
    """
    stages = {stage: paths for stage, paths in stages.items() if len(paths) > 1}
    if not stages:
        return False
    figure, panels = _grid(len(stages))
    for axes, (stage, paths) in zip(panels, stages.items(), strict=True):
        for mode, points in paths.items():
            _draw_path(axes, points, colours[mode])
        axes.set(title=stage, ylabel="verified accuracy, %")
        _scale(axes, [point for points in paths.values() for point in points])
    figure.draw_without_rendering()  # fixes where each point lies on the page
    for axes, paths in zip(panels, stages.values(), strict=True):
        ways = {mode: stations(points) for mode, points in paths.items()}
        labels = [(shown(mode), colours[mode], _place(way[-1])) for mode, way in ways.items()]
        _write_labels(axes, labels, [segment for way in ways.values() for segment in _steps_of(way)])
    figure.savefig(path, dpi=170)
    return True


def stations(points: Sequence[Point]) -> list[Point]:
    """A path with its noise averaged out: the means of equal parts where it has many points, else all of them."""
    fewest, most = STATIONS
    count = min(most, max(fewest, len(points) // fewest))
    if len(points) <= count:
        return list(points)
    cuts = [place * len(points) // count for place in range(count + 1)]
    return [mean_point(points[start:stop]) for start, stop in pairwise(cuts)]


def _draw_path(axes: Axes, points: Sequence[Point], colour: str) -> None:
    raw, (tokens, accuracies) = _coordinates(points), _coordinates(stations(points))
    axes.scatter(*raw, s=7, color=colour, alpha=0.18, linewidths=0)
    axes.plot(tokens, accuracies, color=colour, linewidth=1.8, marker="o", markersize=2.5)
    axes.plot(tokens[:1], accuracies[:1], "o", markersize=8, markerfacecolor="white", color=colour, markeredgewidth=1.8)
    axes.plot(tokens[-1:], accuracies[-1:], "o", markersize=9, color=colour, markeredgecolor="white")


def draw_frontier(scores: Sequence[Score], final: str, colours: Colours, path: Path) -> bool:
    """Accuracy over tokens at the end: one panel a domain, one line a model through its modes, `final` in front.

    A domain in which no model has two modes is left out; nothing is drawn, and False returned, where none is left.
    """
    lines = frontiers(scores)
    if not lines:
        return False
    models = [m for m in dict.fromkeys(score["model"] for score in scores) if any(m in own for own in lines.values())]
    ink = _model_colours(models, final, colours)
    figure, panels = _grid(len(lines))
    for axes, (domain, own) in zip(panels, lines.items(), strict=True):
        for model in sorted(own, key=lambda model: model == final):
            _draw_line(axes, own[model], ink[model], colours, 2.4 if model == final else 1.3)
        axes.set(title=domain, ylabel="held-out accuracy, %")
        _scale(axes, [point for line in own.values() for point in line])
    handles = [Line2D([], [], color=ink[model], linewidth=2, label=model) for model in models]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(6, len(models)))
    figure.draw_without_rendering()
    for axes, own in zip(panels, lines.values(), strict=True):
        named = own.get(final) or list(own.values())[-1]
        labels = [(shown(score["mode"]), colours[score["mode"]], _place(score)) for score in named]
        steps = [segment for line in own.values() for segment in _steps_of(line)]
        _write_labels(axes, labels, [*steps, *(_whisker(score) for line in own.values() for score in line)])
    figure.savefig(path, dpi=170)
    return True


def frontiers(scores: Sequence[Score]) -> dict[str, dict[str, list[Score]]]:
    """Domain -> model -> its scores in order of mean tokens, where there are two modes at least."""
    found: dict[str, dict[str, dict[str, Score]]] = {}
    for score in scores:
        found.setdefault(score["domain"], {}).setdefault(score["model"], {})[score["mode"]] = score
    lines = {
        domain: {
            model: sorted(by_mode.values(), key=lambda score: score["mean_tokens"])
            for model, by_mode in models.items()
            if len(by_mode) > 1
        }
        for domain, models in found.items()
    }
    return {domain: own for domain, own in lines.items() if own}


def _model_colours(models: Sequence[str], final: str, modes: Colours) -> dict[str, str]:
    """The final model's is ink, the others' are those that no mode has."""
    free = [colour for colour in PALETTE if colour not in modes.values()] or list(PALETTE)
    others = [model for model in models if model != final]
    return {final: INK} | {model: free[place % len(free)] for place, model in enumerate(others)}


def _draw_line(axes: Axes, line: Sequence[Score], colour: str, modes: Colours, width: float) -> None:
    tokens, accuracies = _coordinates(line)
    axes.plot(tokens, accuracies, color=colour, linewidth=width, zorder=width)
    for score, x, y in zip(line, tokens, accuracies, strict=True):
        axes.errorbar(
            x, y, yerr=100 * score["stderr"], fmt="o", markersize=4 + 1.2 * width, color=modes[score["mode"]],
            markeredgecolor="white", markeredgewidth=0.7, ecolor=colour, elinewidth=1, capsize=2.5, zorder=width,
        )  # fmt: skip


def draw_calibration(models: Mapping[str, Mapping[str, Sequence[Bin]]], path: Path) -> bool:
    """Verified over stated score: one panel a domain, one line a model, areas of dots by how many answers they are.

    Nothing is drawn, and False returned, where no answer states a score.
    """
    domains = list(dict.fromkeys(domain for own in models.values() for domain in own))
    if not domains:
        return False
    figure, panels = _grid(len(domains))
    for axes, domain in zip(panels, domains, strict=True):
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1.2, zorder=1)
        for colour, (model, found) in zip(PALETTE * 3, models.items(), strict=False):
            own = found.get(domain, ())
            stated, verified = [one.stated for one in own], [one.verified for one in own]
            share = [one.n / sum(other.n for other in own) for one in own]
            axes.plot(stated, verified, color=colour, linewidth=1.4, label=model, zorder=2)
            axes.scatter(stated, verified, s=[20 + 180 * s for s in share], color=colour, edgecolors="white", zorder=3)
        axes.set(title=domain, xlabel="stated score", ylabel="verified score", xlim=(-0.06, 1.06), ylim=(-0.06, 1.06))
        axes.tick_params(length=0)
        axes.legend(loc="upper left")
    figure.savefig(path, dpi=170)
    return True


def _grid(count: int) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels, filled row by row."""
    columns = min(count, PANELS_A_ROW)
    rows = -(-count // columns)
    figure = Figure(figsize=(PAGE_WIDTH if columns < 3 else 12.6, 3.9 * rows), layout="constrained")
    return figure, [figure.add_subplot(rows, columns, place + 1) for place in range(count)]


def _width(columns: int) -> float:
    return max(PAGE_WIDTH, PANEL_WIDTH * columns)


def _place(point: Mapping[str, Any]) -> Place:
    return point["mean_tokens"], 100 * point["accuracy"]


def _coordinates(points: Sequence[Mapping[str, Any]]) -> tuple[list[float], list[float]]:
    return [_place(point)[0] for point in points], [_place(point)[1] for point in points]


def _scale(axes: Axes, points: Sequence[Mapping[str, Any]]) -> None:
    """Axes with room about the points, and lengths as plain numbers on either scale."""
    tokens, accuracies = _coordinates(points)
    axes.margins(0.15, 0.12)
    axes.set_xlabel("tokens a completion")
    axes.tick_params(length=0, which="both")
    bottom, top = _span(min(axes.get_ylim()[0], *accuracies), max(axes.get_ylim()[1], *accuracies))
    axes.set_ylim(bottom, top)
    axes.set_yticks([tick for tick in axes.get_yticks() if max(0, bottom) <= tick <= min(100, top)])
    if 0 < WIDE_RANGE * min(tokens) < max(tokens):
        axes.set_xscale("log")
        axes.set_xlabel("tokens a completion, logarithmic")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(visible=False, which="minor")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 10 else f"{value:g}"))


def _span(bottom: float, top: float) -> tuple[float, float]:
    """Limits of a scale of percents, which small differences do not fill and which ends where percents end."""
    bottom, top = max(bottom, LIMITS[0]), min(top, LIMITS[1])
    missing = max(0.0, LEAST_SPAN - (top - bottom))
    bottom = max(bottom - missing / 2, LIMITS[0])
    top = min(max(top, bottom + LEAST_SPAN), LIMITS[1])
    return min(bottom, top - LEAST_SPAN), top


def _write_labels(axes: Axes, labels: Sequence[Label], obstacles: Iterable[Segment]) -> None:
    """Write a text in a colour beside each point, where it covers least of the lines and of the other texts."""
    lines = [Way(axes.transData.transform(segment)) for segment in obstacles]
    pixels = [tuple(axes.transData.transform(at)) for _, _, at in labels]
    taken: list[Bbox] = []
    for (text, colour, at), own in zip(labels, pixels, strict=True):
        choices = [
            axes.annotate(
                text, at, (9 * right, 9 * up), textcoords="offset points", color=colour, weight="bold", fontsize=9.5,
                ha=SIDES[right], va=LEVELS[up], path_effects=[withStroke(linewidth=2.5, foreground="white")], zorder=5,
            )
            for right, up in PLACES
        ]  # fmt: skip
        boxes = [choice.get_window_extent() for choice in choices]
        costs = [
            100 * _leaves(box, axes.bbox) + 10 * _misleads(box, own, pixels) + _covered(box.padded(2), lines, taken)
            for box in boxes
        ]
        best = costs.index(min(costs))
        taken.append(boxes[best])
        for choice in choices[:best] + choices[best + 1 :]:
            choice.remove()


def _leaves(box: Bbox, frame: Bbox) -> bool:
    return box.x0 < frame.x0 or box.x1 > frame.x1 or box.y0 < frame.y0 or box.y1 > frame.y1


def _misleads(box: Bbox, own: Place, others: Iterable[Place]) -> bool:
    """Whether a text would stand nearer to another's point than to its own."""

    def distance(place: Place) -> float:
        x, y = place
        return math.hypot(max(box.x0 - x, x - box.x1, 0), max(box.y0 - y, y - box.y1, 0))

    return any(distance(other) < distance(own) for other in others)


def _covered(box: Bbox, lines: Iterable[Way], taken: Iterable[Bbox]) -> int:
    texts = sum(box.overlaps(other) for other in taken)
    return 10 * texts + sum(line.intersects_bbox(box, filled=False) for line in lines)


def _steps_of(points: Sequence[Mapping[str, Any]]) -> list[Segment]:
    return list(pairwise(zip(*_coordinates(points), strict=True)))


def _whisker(score: Score) -> Segment:
    ends = (100 * (score["accuracy"] + sign * score["stderr"]) for sign in (-1, 1))
    return tuple((score["mean_tokens"], end) for end in ends)
