"""What each way to make one model keeps of the specialists, over seeds, from the summaries of runs of baselines.yaml.

python docs/results/baselines.py RUN/report/summary.json ...

In %, means over think modes and seeds: accuracy in each domain, of the teacher's kept (`retention`, the mean over
domains); `normalized` is 0 at the start and 1 at the specialists, with its standard error over seeds, or over prompts
where one run alone has the model. `seeds` counts the runs that have it.
"""

import json
import statistics
import sys
from pathlib import Path


def rows(summaries: list[dict]) -> list[list[str]]:
    """One row a model, the best one first."""
    scores = [score for own in summaries for score in own["scores"]]
    models, domains = (list(dict.fromkeys(score[name] for score in scores)) for name in ("model", "domain"))

    def accuracy(model: str, domain: str) -> float:
        return 100 * statistics.fmean(
            own["accuracy"] for own in scores if (own["model"], own["domain"]) == (model, domain)
        )

    table = []
    for model in models:
        kept = [statistics.fmean(own.values()) for s in summaries if (own := s["retention"].get(model))]
        found = [own for s in summaries if (own := s["normalized"].get(model))]
        normalized = [own["mean"] for own in found]
        error = (
            statistics.stdev(normalized) / len(found) ** 0.5 if len(found) > 1 else found[0]["stderr"] if found else 0
        )
        figures = (
            [f"{100 * statistics.fmean(kept):.1f}%", f"{statistics.fmean(normalized):.3f} +- {error:.3f}"]
            if kept and normalized
            else ["-", "-"]
        )
        seeds = sum(any(own["model"] == model for own in s["scores"]) for s in summaries)
        table.append([model, str(seeds), *(f"{accuracy(model, domain):.1f}" for domain in domains), *figures])
    return [["model", "seeds", *domains, "retention", "normalized"], ["---"] * (len(domains) + 4), *_best_first(table)]


def _best_first(table: list[list[str]]) -> list[list[str]]:
    return sorted(table, key=lambda row: -float(row[-1].split()[0]) if row[-1] != "-" else 9.0)


if __name__ == "__main__":
    found = [json.loads(Path(path).read_text()) for path in sys.argv[1:]]
    sys.stdout.write("".join(f"| {' | '.join(line)} |\n" for line in rows(found)))
