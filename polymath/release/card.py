"""The card of an exported model: what it is, what it was made from, what it scores, and what is not known of it."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader

from polymath.release.provenance import Provenance
from polymath.stage import BASE

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
        """In words, as far as so many tasks let one say, of which none, or all, may be right.

        The interval of Agresti and Caffo (2000), "Simple and effective confidence intervals for proportions and
        differences of proportions": one more right answer and one more wrong one in either.
        """
        if self.before is None:
            return "not measured before"
        before, after = ((share / 100 * self.n + 1) / (self.n + 2) for share in (self.before, self.after))
        difference, error = after - before, math.sqrt(sum(p * (1 - p) / (self.n + 2) for p in (before, after)))
        if abs(difference) <= CLEAR * error:
            return "no clear change"
        return "better" if difference > 0 else "worse"


def card(own: Provenance) -> str:
    """Markdown, with the header that hubs read."""
    environment = Environment(loader=FileSystemLoader(TEMPLATES), trim_blocks=True, keep_trailing_newline=True)
    trained = {name: own.recipe["domains"][name] for name in _domains(own)}
    environment.globals["adapter"] = _adapter
    return environment.get_template("card.md.j2").render(
        own=own, rows=rows(own.scores, own.stage), domains=trained, stages=own.recipe["stages"]
    )


def rows(scores: Sequence[Mapping[str, Any]], scored: str) -> list[Row]:
    """What a model scored, beside what the base did."""
    found = {(one["model"], one["domain"], one["mode"]): one for one in scores}
    out = []
    for (model, domain, mode), one in found.items():
        if model == scored:
            base = found.get((BASE, domain, mode))
            before = 100 * base["accuracy"] if base else None
            out.append(Row(domain, mode, one["n"], before, 100 * one["accuracy"], 100 * one["stderr"]))
    return out


def _adapter(settings: Mapping[str, Any]) -> str:
    """An adapter in a few words."""
    kinds = [name for name, key in (("rsLoRA", "use_rslora"), ("DoRA", "use_dora")) if settings[key]]
    numbers = [f"r {settings['r']}", f"alpha {settings['lora_alpha']}"]
    dropout = [f"dropout {settings['lora_dropout']}"] if settings["lora_dropout"] else []
    chosen = [settings["target_modules"] or (), settings["target_parameters"] or ()]
    names = [name for own in chosen for name in ([own] if isinstance(own, str) else own)]
    targets = sorted({name.rpartition(".")[2] for name in names})  # PEFT names those of each layer
    return ", ".join([*numbers, *dropout, *kinds, f"on {' '.join(targets)}"])


def _domains(own: Provenance) -> list[str]:
    """Those that a stage on the way was trained on."""
    stages: dict[str, Any] = own.recipe["stages"]
    names = [name for stage in own.stages for name in stages.get(stage.name, {}).get("domains", ())]
    return list(dict.fromkeys(names))
