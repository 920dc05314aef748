"""The table of runs of the miniature of judging, of single answers or of pairs.

python docs/results/judging.py RUN ...
"""

import json
import sys
from pathlib import Path

COLUMNS = ("seed", "judge: start", "judge: joint")


def row(run: Path) -> list[str]:
    """Held-out accuracies in %, when votes began to count, and what judging takes of the time of a step."""
    summary = json.loads((run / "report/summary.json").read_text())
    scores = {(own["model"], own["domain"]): f"{100 * own['accuracy']:.1f}" for own in summary["scores"]}
    (path,) = run.glob("*-joint/metrics.jsonl")
    steps = [line for text in path.read_text().splitlines() if "time/step" in (line := json.loads(text))]
    looks = [line for line in steps if "judge/agreement" in line]
    began = next(line["step"] for line in looks if line["judge/trusted"])
    cost = sum(line["time/judge"] for line in steps) / sum(line["time/step"] for line in steps)
    sums = [own for (_, domain), own in scores.items() if domain == "math"]
    agreement = f"{100 * looks[0]['judge/agreement']:.1f}, {100 * looks[-1]['judge/agreement']:.1f}"
    stages = json.loads((run / "resolved.json").read_text())["stages"]
    judge = [scores[name, "judge"] for name in (stages["joint"]["from"], "joint")]
    return [str(summary["seed"]), *judge, *sums, agreement, str(began), f"{100 * cost:.0f}"]


if __name__ == "__main__":
    runs = [Path(own) for own in sys.argv[1:]]
    found = json.loads((runs[0] / "report/summary.json").read_text())["scores"]
    columns = [*COLUMNS, *(f"sums: {own['model']}" for own in found if own["domain"] == "math")]
    columns += ["agreement, first and last look", "votes from step", "judging, % of a step"]
    lines = [columns, ["---"] * len(columns), *map(row, runs)]
    sys.stdout.write("".join(f"| {' | '.join(line)} |\n" for line in lines))
