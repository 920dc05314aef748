"""The table of specialists and merged model, from the summaries of runs of the miniature.

python docs/results/table.py RUN/report/summary.json ...
"""

import json
import sys
from pathlib import Path

COLUMNS = ("seed", "domain", "start", "SFT", "GRPO", "gain", "neighbour", "merged", "kept")


def rows(summary: dict) -> list[list[str]]:
    """One row a domain: accuracies in %, averaged over the think modes."""

    def mean(model: str, domain: str) -> float:
        own = [s["accuracy"] for s in summary["scores"] if (s["model"], s["domain"]) == (model, domain)]
        return 100 * sum(own) / len(own)

    table = []
    for domain, other in (("math", "agent"), ("agent", "math")):
        models = ("format", f"sft-{domain}", f"grpo-{domain}", f"grpo-{other}", "merged")
        start, sft, grpo, neighbour, merged = (mean(model, domain) for model in models)
        numbers = [f"{start:.1f}", f"{sft:.1f}", f"{grpo:.1f}", f"{grpo - sft:+.1f}", f"{neighbour:.1f}"]
        table.append([str(summary["seed"]), domain, *numbers, f"{merged:.1f}", f"{100 * merged / grpo:.1f}%"])
    return table


if __name__ == "__main__":
    lines = [list(COLUMNS), ["---"] * len(COLUMNS)]
    for path in sys.argv[1:]:
        lines += rows(json.loads(Path(path).read_text()))
    sys.stdout.write("".join(f"| {' | '.join(line)} |\n" for line in lines))
