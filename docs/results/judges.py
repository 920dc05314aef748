"""What each stage with a judge learned, and what it cost.

python docs/results/judges.py RUN ...
"""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

COLUMNS = ("seed", "stage", "verified worth of what is sampled, %: first, last five steps")
COLUMNS += ("agreement: first, last look", "votes from step", "step, s", "judging, % of it")
COLUMNS += ("held-out answers", "held-out verdicts", "criteria of these")


def rows(run: Path) -> list[list[str]]:
    """One for each model that was scored, or that learned from a judge or a verifier."""
    seed = json.loads((run / "resolved.json").read_text())["seed"]
    out = []
    for path in results(run, "metrics.jsonl"):
        stage = path.parent.name.partition("-")[2]
        lines = [line for text in path.read_text().splitlines() if "time/step" in (line := json.loads(text))]
        learned = told(lines) if lines and "reward/verifier" in lines[0] else []
        held_out = scores(run, stage)
        if learned or any(held_out):
            out.append([str(seed), stage, *(learned or [""] * 5), *held_out])
    return out


def results(run: Path, name: str) -> list[Path]:
    """The files of this name in the stages of a run, without those that were moved aside."""
    return [path for path in sorted(run.glob(f"*/{name}")) if ".old-" not in str(path.relative_to(run))]


def scores(run: Path, model: str) -> list[str]:
    """What held-out answers and verdicts are worth, in %, and the share of criteria judged right; '' for none."""
    files = results(run, f"scores/{model}.jsonl")
    samples = [json.loads(text) for own in files for text in own.read_text().splitlines()]
    judged = [own for own in samples if own["domain"] == "judge"]
    answered = [own for own in samples if own["domain"] != "judge"]
    by_criterion = any("criteria" in own.get("parts", {}) for own in judged)
    criteria = [own["parts"].get("criteria", 0.0) for own in judged] if by_criterion else []
    worth = ([row["reward"] for row in own] for own in (answered, judged))
    return [f"{100 * statistics.mean(own):.1f}" if own else "" for own in (*worth, criteria)]


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
