"""Where the time of a GRPO step goes: a table of the lines that grpo_step.py wrote, next to TRL's of the same work.

python docs/results/phases.py docs/results/grpo-step-h200/grpo_step.jsonl
"""

import json
import sys
from pathlib import Path

COLUMNS = ("model, weights", "", "step", "generate", "other sampling", "learner", "tokens/s", "x TRL", "peak GiB")


def cells(line: dict, stock: dict) -> list[str]:
    """One row: seconds of the phases, which add up to the step's, and what TRL's arm is to it."""
    phase = line["seconds"]
    name = line["arm"] + (", compiled" if line["options"].get("torch_compile") else "")
    parts = (phase["generate"], phase["collect"] - phase["generate"], phase["step"] - phase["collect"])
    return [
        f"{line['model']}, {line['weights']}", name, *(f"{value:.2f} s" for value in (phase["step"], *parts)),
        f"{line['tokens_per_s']:,}", f"{line['tokens_per_s'] / stock['tokens_per_s']:.2f}", str(line["peak_gib"]),
    ]  # fmt: skip


def rows(lines: list[dict]) -> list[list[str]]:
    """TRL's arm of each work first."""
    works: dict[tuple[str, str], list[dict]] = {}
    for line in lines:
        works.setdefault((line["model"], line["weights"]), []).append(line)
    table = []
    for own in works.values():
        stock = [line for line in own if line["arm"] == "trl"]  # the last one is of ours' machine
        table += [cells(line, stock[-1]) for line in (stock[-1], *(line for line in own if line["arm"] == "ours"))]
    return table


if __name__ == "__main__":
    found = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
    body = rows(found)
    for row in (COLUMNS, ["---"] * len(COLUMNS), *body):
        sys.stdout.write(f"| {' | '.join(row)} |\n")
