"""Means over some steps of metrics that are kept here, by run: what is sampled, what a step takes, what is judging.

python docs/results/judge_steps.py METRICS.jsonl FIRST LAST
"""

import json
import statistics
import sys
from pathlib import Path

COLUMNS = (
    "run",
    "verified worth",
    "by the judge",
    "step, s",
    "judging, % of it",
    "steps with votes",
    "steps with judging tasks",
)


def main(path: Path, first: int, last: int) -> None:
    """Print a row for each run."""
    runs: dict[str, list[dict[str, float]]] = {}
    for text in path.read_text().splitlines():
        line = json.loads(text)
        name = ", ".join(f"{key} {line[key]}" for key in ("seed", "stage", "min_agreement") if key in line)
        if first <= line["step"] <= last:
            runs.setdefault(name, []).append(line)
    rows = [list(COLUMNS), ["---"] * len(COLUMNS)]
    for name, lines in runs.items():
        step, judge = (sum(own.get(key, 0.0) for own in lines) for key in ("time/step", "time/judge"))
        worth = statistics.mean(own["reward/verifier"] for own in lines)
        counts = [sum(key in own for own in lines) for key in ("reward/rubric", "judge/reward")]
        votes = [own["reward/rubric"] for own in lines if "reward/rubric" in own]
        voted = f"{statistics.mean(votes):.3f}" if votes else ""
        rows.append(
            [name, f"{worth:.3f}", voted, f"{step / len(lines):.2f}", f"{100 * judge / step:.0f}", *map(str, counts)]
        )
    sys.stdout.write("".join(f"| {' | '.join(row)} |\n" for row in rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
