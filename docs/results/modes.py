"""Accuracy and tokens of each think mode, from the summaries of runs of a think-modes recipe.

python docs/results/modes.py RUN/report/summary.json ...
"""

import json
import sys
from pathlib import Path


def rows(summary: dict) -> list[list[str]]:
    """One row a model: accuracy in % and mean tokens in each mode."""
    scores = summary["scores"]
    models, modes = (list(dict.fromkeys(score[name] for score in scores)) for name in ("model", "mode"))
    found = {(s["model"], s["mode"]): f"{100 * s['accuracy']:.1f} ({s['mean_tokens']:.1f})" for s in scores}
    return [[str(summary["seed"]), model, *(found[model, mode] for mode in modes)] for model in models]


if __name__ == "__main__":
    summaries = [json.loads(Path(path).read_text()) for path in sys.argv[1:]]
    columns = ["seed", "model", *dict.fromkeys(score["mode"] for score in summaries[0]["scores"])]
    lines = [columns, ["---"] * len(columns), *(row for summary in summaries for row in rows(summary))]
    sys.stdout.write("".join(f"| {' | '.join(line)} |\n" for line in lines))
