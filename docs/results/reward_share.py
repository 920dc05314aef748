"""What rewards take of a GRPO step's wall time, stage by stage.

python docs/results/reward_share.py RUN
"""

import json
import statistics
import sys
from pathlib import Path


def line(metrics: Path) -> str | None:
    """One row of the table; None for a stage without rewards."""
    rows = [json.loads(text) for text in metrics.read_text().splitlines()]
    steps = [(row["time/step"], row["time/rewards"]) for row in rows if "time/rewards" in row and "time/step" in row]
    if not steps:
        return None
    shares = [100 * rewards / step for step, rewards in steps]
    step, rewards = (statistics.median(values) for values in zip(*steps, strict=True))
    verified = [row["reward/verifier"] for row in rows if "reward/verifier" in row]
    taken = (f"{step:.1f} s", f"{rewards:.2f} s", f"{statistics.median(shares):.1f}%", f"{max(shares):.1f}%")
    ends = f"{statistics.mean(verified[:3]):.2f} to {statistics.mean(verified[-3:]):.2f}"
    return f"| {metrics.parent.name} | {len(steps)} | {' | '.join(taken)} | {ends} |"


if __name__ == "__main__":
    sys.stdout.write("| stage | steps | step | rewards | share, median | most | verifier, first and last three |\n")
    sys.stdout.write("|" + "---|" * 7 + "\n")
    for path in sorted(Path(sys.argv[1]).glob("*/metrics.jsonl")):
        if row := line(path):
            sys.stdout.write(row + "\n")
