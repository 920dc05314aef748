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

from polymath.calibration import bins, error

MODES = ("non_think", "high")


def row(run: Path, model: str) -> list[str]:
    """One model of one run; samples that state no score are left out."""
    (path,) = run.glob(f"*-scores/scores/{model}.jsonl")
    samples = [json.loads(line) for line in path.read_text().splitlines()]
    cells = []
    for mode in MODES:
        of_mode = [own for own in samples if own["mode"] == mode]
        found = bins(of_mode)
        cells.append(_percent(statistics.fmean(own["reward"] for own in of_mode)))
        cells.append(_percent(sum(own.stated * own.n for own in found) / sum(own.n for own in found)))
    verified = {own.stated: _percent(own.verified) for own in bins(samples)}
    cells += [_percent(error(bins(samples))), verified.get(1.0, "-"), verified.get(0.0, "-")]
    return [str(_summary(run)["seed"]), model, *cells]


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _summary(run: Path) -> Any:
    return json.loads((run / "report/summary.json").read_text())


if __name__ == "__main__":
    runs = [Path(own) for own in sys.argv[1:]]
    columns = [f"{mode}: {what}" for mode in MODES for what in ("right", "called right")]
    columns = ["seed", "model", *columns, "apart", "right if called so", "right if called wrong"]
    models = list(dict.fromkeys(own["model"] for own in _summary(runs[0])["scores"]))
    lines = [columns, ["---"] * len(columns), *(row(run, model) for model in models for run in runs)]
    sys.stdout.write("".join(f"| {' | '.join(line)} |\n" for line in lines))
