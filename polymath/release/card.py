"""The card of an exported model: what it is, what it was made from, what it scores, and what is not known of it."""

import math
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader

from polymath import models
from polymath.release.provenance import Provenance

TEMPLATES = Path(__file__).resolve().parent.parent / "templates"
CLEAR = 2.0  # standard errors of a difference


class Row(NamedTuple):
    """Of one domain and mode: sampled accuracy of the base and of this model, in %."""

    domain: str
    mode: str
    n: int
    before: float | None
    after: float
    stderr: float

    def change(self) -> str:
        """In words, as far as the errors let one say."""
        if self.before is None:
            return "not measured before"
        difference = self.after - self.before
        error = math.hypot(self.stderr, math.sqrt(max(self.before * (100 - self.before), 1e-9) / self.n))
        if abs(difference) <= CLEAR * error:
            return "no clear change"
        return "better" if difference > 0 else "worse"


def card(own: Provenance, dtype: models.Dtype) -> str:
    """Markdown, with the header that hubs read."""
    environment = Environment(loader=FileSystemLoader(TEMPLATES), trim_blocks=True)
    trained = {name: own.recipe["domains"][name] for name in _domains(own)}
    return environment.get_template("card.md.j2").render(
        own=own, dtype=dtype, rows=scores(own), domains=trained, stages=own.recipe["stages"], modes=own.recipe["modes"]
    )


def scores(own: Provenance) -> list[Row]:
    """What the exported stage scored, beside what the base did."""
    found = {(one["model"], one["domain"], one["mode"]): one for one in own.scores}
    rows = []
    for (model, domain, mode), one in found.items():
        if model == own.stage:
            base = found.get(("base", domain, mode))
            before = 100 * base["accuracy"] if base else None
            rows.append(Row(domain, mode, one["n"], before, 100 * one["accuracy"], 100 * one["stderr"]))
    return rows


def _domains(own: Provenance) -> list[str]:
    """Those that a stage on the way was trained on."""
    stages: dict[str, Any] = own.recipe["stages"]
    names = [name for stage in own.stages for name in stages.get(stage.name, {}).get("domains", ())]
    return list(dict.fromkeys(names))
