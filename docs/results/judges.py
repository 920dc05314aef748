"""What each stage with a judge learned, and what it cost.

python docs/results/judges.py RUN ...
"""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

COLUMNS = ("seed", "stage", "sampled sums right: first, last five steps", "agreement: first, last look")
COLUMNS += ("votes from step", "step, s", "judging, % of it", "held-out sums", "held-out verdicts")


def rows(run: Path) -> list[list[str]]:
    """One for each stage whose verdicts were looked at, or whose sums the verifier rewarded."""
    seed = json.loads((run / "resolved.json").read_text())["seed"]
    summary = run / "report/summary.json"
    scores = json.loads(summary.read_text())["scores"] if summary.exists() else []
    held_out = {(own["model"], own["domain"]): f"{100 * own['accuracy']:.1f}" for own in scores}
    out = []
    for path in sorted(run.glob("*/metrics.jsonl")):
        lines = [line for text in path.read_text().splitlines() if "time/step" in (line := json.loads(text))]
        stage = path.parent.name.partition("-")[2]
        if lines and "reward/verifier" in lines[0]:
            models = [held_out.get((stage, domain), "") for domain in ("math", "judge")]
            out.append([str(seed), stage, *told(lines), *models])
    return out


def told(lines: list[dict[str, Any]]) -> list[str]:
    """Of one stage's steps."""
    right = [f"{100 * statistics.mean(line['reward/verifier'] for line in own):.1f}" for own in (lines[:5], lines[-5:])]
    looks = [line for line in lines if "judge/agreement" in line]
    agreement = [f"{100 * look['judge/agreement']:.1f}" for look in (*looks[:1], *looks[-1:])]
    began = next((str(look["step"]) for look in looks if look["judge/trusted"]), "")
    seconds = statistics.median(line["time/step"] for line in lines)
    cost = sum(line.get("time/judge", 0) for line in lines) / sum(line["time/step"] for line in lines)
    return [", ".join(right), ", ".join(agreement), began, f"{seconds:.1f}", f"{100 * cost:.0f}" if looks else ""]


if __name__ == "__main__":
    table = [list(COLUMNS), ["---"] * len(COLUMNS), *(row for run in sys.argv[1:] for row in rows(Path(run)))]
    sys.stdout.write("".join(f"| {' | '.join(row)} |\n" for row in table))
