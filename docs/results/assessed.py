"""What models of runs of assessed.yaml say of their own answers, beside what the answers are.

python docs/results/assessed.py RUN ...

Held out, in %: right answers without reasoning and with it, how many of each the model calls right, how far stated and
verified scores are apart on the mean (0 is best), and how many of the answers that it calls right, or wrong, are right.
"""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

MODES = ("non_think", "high")


def row(run: Path, model: str) -> list[str]:
    """One model of one run; samples that state no score are left out."""
    (path,) = run.glob(f"*-scores/scores/{model}.jsonl")
    samples = [json.loads(line) for line in path.read_text().splitlines()]
    stated = [own for own in samples if "stated" in own.get("parts", {})]
    cells = []
    for mode in MODES:
        cells.append(_percent([own["reward"] for own in samples if own["mode"] == mode]))
        cells.append(_percent([own["parts"]["stated"] for own in stated if own["mode"] == mode]))
    cells.append(_percent([abs(own["parts"]["stated"] - own["reward"]) for own in stated]))
    cells += [_percent([own["reward"] for own in stated if own["parts"]["stated"] == said]) for said in (1, 0)]
    return [str(_summary(run)["seed"]), model, *cells]


def _percent(values: list[float]) -> str:
    return f"{100 * statistics.fmean(values):.1f}" if values else "-"


def _summary(run: Path) -> Any:
    return json.loads((run / "report/summary.json").read_text())


if __name__ == "__main__":
    runs = [Path(own) for own in sys.argv[1:]]
    columns = [f"{mode}: {what}" for mode in MODES for what in ("right", "called right")]
    columns = ["seed", "model", *columns, "apart", "right if called so", "right if called wrong"]
    models = list(dict.fromkeys(own["model"] for own in _summary(runs[0])["scores"]))
    lines = [columns, ["---"] * len(columns), *(row(run, model) for model in models for run in runs)]
    sys.stdout.write("".join(f"| {' | '.join(line)} |\n" for line in lines))
