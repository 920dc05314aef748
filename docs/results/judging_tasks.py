"""How many judging tasks a step of each stage has, in each half of its steps, and how many of them are asked again.

python docs/results/judging_tasks.py RUN ...
"""

import json
import sys
from pathlib import Path

COLUMNS = ("seed", "stage", "tasks a step, first half", "second half", "asked again, %")


def row(seed: int, path: Path) -> list[str]:
    """Of one stage's judgments; a task is a group of verdicts on the same."""
    lines = map(json.loads, path.read_text().splitlines())
    tasks = {(line["step"], line["asked"]): line.get("replayed", False) for line in lines if line["purpose"] == "task"}
    steps = max(step for step, _ in tasks)
    late = sum(step > steps // 2 for step, _ in tasks)
    counts = [(len(tasks) - late) / (steps // 2), late / (steps - steps // 2)]
    again = 100 * sum(tasks.values()) / len(tasks)
    return [str(seed), path.parent.name.partition("-")[2], *(f"{own:.1f}" for own in counts), f"{again:.0f}"]


if __name__ == "__main__":
    table = [list(COLUMNS), ["---"] * len(COLUMNS)]
    for run in map(Path, sys.argv[1:]):
        number = json.loads((run / "resolved.json").read_text())["seed"]
        table += [row(number, path) for path in sorted(run.glob("*/judgments.jsonl")) if ".old-" not in str(path)]
    sys.stdout.write("".join(f"| {' | '.join(own)} |\n" for own in table))
