"""The report's figures, drawn with matplotlib."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from polymath.summary import Score

PALETTE = ("#4C6EF5", "#F76707", "#12B886", "#BE4BDB", "#FAB005", "#868E96", "#E64980", "#15AABF")
INK, FAINT = "#212529", "#DEE2E6"
Series = Mapping[str, Sequence[tuple[float, float]]]  # label -> (step, value)

mpl.rcParams.update(
    {
        "font.size": 10, "axes.edgecolor": FAINT, "axes.labelcolor": INK, "axes.titleweight": "bold",
        "axes.titlesize": 11, "axes.titlelocation": "left", "axes.spines.top": False, "axes.spines.right": False,
        "axes.grid": True, "axes.axisbelow": True, "grid.color": FAINT, "grid.linewidth": 0.6, "xtick.color": INK,
        "ytick.color": INK, "text.color": INK, "legend.frameon": False, "legend.fontsize": 9,
    }
)  # fmt: skip


def draw_scores(scores: Sequence[Score], path: Path) -> None:
    """Accuracy of every model: one panel a domain, one bar a mode, whiskers of one standard error."""
    domains = list(dict.fromkeys(score["domain"] for score in scores))
    modes = list(dict.fromkeys(score["mode"] for score in scores))
    models = list(dict.fromkeys(score["model"] for score in scores))
    figure = Figure(figsize=(5.2 * len(domains), 0.46 * len(models) + 1.3), layout="constrained")
    panels = figure.subplots(1, len(domains), sharey=True, squeeze=False)[0]
    for axes, domain in zip(panels, domains, strict=True):
        for place, mode in enumerate(modes):
            own = {score["model"]: score for score in scores if (score["domain"], score["mode"]) == (domain, mode)}
            _draw_bars(axes, models, own, place, modes)
        axes.set(title=domain, xlim=(0, 100), xlabel="held-out accuracy, %")
        axes.set_yticks(range(len(models)), models)
        axes.grid(visible=False, axis="y")
        axes.tick_params(length=0)
    panels[0].invert_yaxis()
    panels[-1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.savefig(path, dpi=170)


def _draw_bars(axes: Axes, models: list[str], own: dict[str, Score], place: int, modes: list[str]) -> None:
    height = 0.8 / len(modes)
    rows = [index + (place - (len(modes) - 1) / 2) * height for index in range(len(models))]
    values = [100 * own[model]["accuracy"] if model in own else 0.0 for model in models]
    errors = [100 * own[model]["stderr"] if model in own else 0.0 for model in models]
    axes.barh(
        rows, values, height * 0.92, xerr=errors, color=PALETTE[place], label=modes[place].replace("_", "-"),
        error_kw={"ecolor": INK, "elinewidth": 0.8},
    )  # fmt: skip


def draw_curves(panels: Mapping[str, Series], path: Path) -> bool:
    """One panel for each title, one line for each series; nothing is drawn, and False returned, without data."""
    panels = {title: series for title, series in panels.items() if any(series.values())}
    if not panels:
        return False
    figure = Figure(figsize=(max(10.4, 5.2 * len(panels)), 2.9), layout="constrained")
    axes_row: Iterable[Any] = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, series) in zip(axes_row, panels.items(), strict=True):
        for colour, (label, points) in zip(PALETTE * 3, series.items(), strict=False):
            if points:
                axes.plot(*zip(*points, strict=True), color=colour, label=label, linewidth=1.8)
        axes.set(title=title, xlabel="step")
        axes.tick_params(length=0)
        if title.startswith("loss"):
            axes.set_yscale("log")  # one stage begins where another has long been
        axes.legend()
    figure.savefig(path, dpi=170)
    return True
