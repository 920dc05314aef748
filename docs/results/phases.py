"""Where the time of a GRPO step goes: a table of the lines that grpo_step.py wrote, next to TRL's of the same work.

python docs/results/phases.py docs/results/grpo-step-h200/grpo_step.jsonl
"""

import json
import sys
from pathlib import Path

COLUMNS = ("model, weights", "", "step", "generate", "other sampling", "learner", "tokens/s", "x TRL", "peak GiB")


MODELS, WEIGHTS = ("smollm2", "qwen3-1.7b", "qwen3-4b"), ("lora", "full")


def cells(line: dict, stock: float) -> list[str]:
    """One row: seconds of the phases, which add up to the step's, and its tokens a second over TRL's."""
    phase = line["seconds"]
    name = line["arm"] + (", compiled" if line["options"].get("torch_compile") else "")
    name += ", no checkpointing" if line["options"].get("gradient_checkpointing") is False else ""
    micro = line["options"].get("micro")
    parts = (phase["generate"], phase["collect"] - phase["generate"], phase["step"] - phase["collect"])
    return [
        f"{line['model']}, {line['weights']}", name + (f", micro-batch {micro}" if micro else ""),
        *(f"{value:.2f} s" for value in (phase["step"], *parts)),
        f"{line['tokens_per_s']:,}", f"{line['tokens_per_s'] / stock:.2f}" if stock else "-", f"{line['peak_gib']:.1f}",
    ]  # fmt: skip


def rows(lines: list[dict]) -> list[list[str]]:
    """TRL's arms of each work first; all are compared with the fastest of them."""
    table = []
    for weights in WEIGHTS:
        for model in MODELS:
            own = [line for line in lines if (line["model"], line["weights"]) == (model, weights)]
            own.sort(key=lambda line: (line["arm"] != "trl", bool(line["options"].get("torch_compile"))))
            stock = max((line["tokens_per_s"] for line in own if line["arm"] == "trl"), default=0)
            table += [cells(line, stock) for line in own]
    return table


if __name__ == "__main__":
    found = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
    for row in (COLUMNS, ["---"] * len(COLUMNS), *rows(found)):
        sys.stdout.write(f"| {' | '.join(row)} |\n")
