"""Kill -9 the miniature at ten different moments, resume it each time, and compare it with an uninterrupted run.

    python tests/e2e/kill_demo.py RUN REFERENCE [SEED]

RUN is a folder that is not there yet (or one of an earlier call, which goes on), REFERENCE a finished run of the same recipe
and seed. Every kind of stage is killed at least once, a random while after it started. Prints a line for each kill and
ends with exit code 0 if every stage finished exactly once and all scores are those of the reference.
"""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

CLI = [sys.executable, "-m", "polymath"]
KILLED_IN = ["base", "format", "format", "sft-math", "grpo-math", "grpo-agent", "merged", "merged", "merged", "scores"]


def main(run: Path, reference: Path, seed: int) -> int:
    """Kill, resume, compare; returns the exit code."""
    rng = random.Random(seed)
    for number, stage in enumerate(KILLED_IN, 1):
        if (run / "events.jsonl").exists() and stage in names(run, "finished"):
            continue
        process = start(run)
        while process.poll() is None and stage not in under_way(run, process.pid):
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 0.3) if stage == "base" else rng.uniform(3, 20))
        process.kill()
        process.wait()
        print(f"kill {number:2d}: {describe(run)}", flush=True)
    start(run).wait()
    finished = names(run, "finished")
    same = scores(run) == scores(reference)
    print(f"finished once each: {len(finished) == len(set(finished)) == 8}; scores equal: {same}")
    return 0 if same and len(finished) == len(set(finished)) == 8 else 1


def start(run: Path) -> "subprocess.Popen[bytes]":
    """Begin the run, or go on with it."""
    begun = (run / "resolved.json").exists()
    line = [*CLI, "resume", str(run)] if begun else [*CLI, "run", "recipes/miniature.yaml", "--run-dir", str(run)]
    return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def under_way(run: Path, pid: int) -> list[str]:
    """The stages that this process has started and that have not finished since."""
    lines = events(run)
    begins = [index for index, event in enumerate(lines) if event["event"] == "run" and event.get("pid") == pid]
    later = lines[begins[-1] :] if begins else []
    ended = [event["stage"] for event in later if event["event"] == "finished"]
    return [e["stage"] for e in later if e["event"] in ("started", "resumed") and e["stage"] not in ended]


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
    path = run / "events.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def names(run: Path, kind: str) -> list[str]:
    """The stages of one kind of event."""
    return [event["stage"] for event in events(run) if event["event"] == kind]


def scores(run: Path) -> list[dict]:
    """The scores of a finished run."""
    return json.loads((run / "report/summary.json").read_text())["scores"]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0))
