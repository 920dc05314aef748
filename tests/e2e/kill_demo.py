"""Kill -9 the miniature at ten different moments, resume it each time, and compare it with an uninterrupted run.

    python tests/e2e/kill_demo.py RUN REFERENCE [SEED]

RUN is a folder that is not there yet, REFERENCE a finished run of the same recipe and seed. Prints a line for each kill
and ends with exit code 0 if every stage finished exactly once and all scores are those of the reference.
"""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

KILLS = 10
CLI = [sys.executable, "-m", "polymath.cli"]


def main(run: Path, reference: Path, seed: int) -> int:
    """Kill, resume, compare; returns the exit code."""
    rng = random.Random(seed)
    for kill in range(1, KILLS + 1):
        started = (run / "resolved.json").exists()
        line = [*CLI, "resume", str(run)] if started else [*CLI, "run", "recipes/miniature.yaml", "--run-dir", str(run)]
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds = rng.uniform(9, 32)
        time.sleep(seconds)
        process.kill()
        process.wait()
        print(f"kill {kill:2d} after {seconds:4.1f} s: {describe(run)}", flush=True)
    subprocess.run([*CLI, "resume", str(run)], check=True, stdout=subprocess.DEVNULL)
    finished = [event["stage"] for event in events(run) if event["event"] == "finished"]
    same = scores(run) == scores(reference)
    print(f"finished once each: {len(finished) == len(set(finished)) == 8}; scores equal: {same}")
    return 0 if same and len(finished) == len(set(finished)) == 8 else 1


def describe(run: Path) -> str:
    """Which stages were under way, and how far their checkpoints reach."""
    states = [(path.parent, json.loads(path.read_text())) for path in sorted(run.glob("*/stage.json"))]
    under_way = [
        f"{state['name']} (step {max((int(c.name[11:]) for c in folder.glob('checkpoints/checkpoint-*')), default=0)})"
        for folder, state in states
        if state["status"] == "running"
    ]
    return ", ".join(under_way) or "between stages"


def events(run: Path) -> list[dict]:
    """What happened, in order."""
    return [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]


def scores(run: Path) -> list[dict]:
    """The scores of a finished run."""
    return json.loads((run / "report/summary.json").read_text())["scores"]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0))
