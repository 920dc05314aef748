"""How often a model that nobody has trained to it writes a rubric which can be read, of the tasks of `kind: writing`.

python docs/results/written_rubrics.py MODEL [TASKS]
"""

import json
import sys
from collections import Counter
from pathlib import Path

import torch

from polymath import models
from polymath.chat.formats import format_for
from polymath.completion import read
from polymath.data import judging_row
from polymath.domains import held_out_tasks
from polymath.domains.task import Task
from polymath.domains.writing import WritingDomain
from polymath.engine.local import LocalEngine
from polymath.episodes import play_rows
from polymath.judging import read_rubric, rubric_prompt
from polymath.stage import ModeConfig
from rl.hands import RUBRIC_SCALE

MODE = ModeConfig(think="non_think", max_completion_length=160)  # what reasons without `</think>` never comes to an end


def asked(texts: list[str], source: Path) -> list[str]:
    """What the model writes where a judge is asked for the rubric of each of these tasks."""
    tokenizer = models.load_tokenizer(source)
    model = models.load_model(source, "float32").eval()
    form = format_for("native", tokenizer)
    rows = [judging_row(rubric_prompt(text), "", MODE, form) for text in texts]
    engine = LocalEngine(model, seed=0, batch_size=32)
    episodes = play_rows(rows, list(map(str, range(len(rows)))), engine, tokenizer, form, 1.0)
    return [
        read(row, own.turns, own.turn_ids, tokenizer, form).content for row, own in zip(rows, episodes, strict=True)
    ]


def named(task: Task, rubric: str) -> float:
    """The share of the facts that the verifier looks for which the rubric names."""
    checks = [check for own in json.loads(task.answer)["criteria"] for check in own]
    facts = [str(check.get("contains") or check.get("max_words") or "number") for check in checks]
    return sum(fact.lower() in rubric.lower() for fact in facts) / len(facts)


def main(source: Path, count: int) -> None:
    """Print a table."""
    torch.manual_seed(0)
    tasks = held_out_tasks(WritingDomain(), count, 0)
    faults: Counter[str] = Counter()
    sizes, facts = [], []
    for task, text in zip(tasks, asked([own.messages[-1]["content"] for own in tasks], source), strict=True):
        try:
            rubric = read_rubric(text, RUBRIC_SCALE)
        except ValueError as error:
            faults[str(error)] += 1
            continue
        sizes.append(len(rubric.criteria))
        facts.append(named(task, text))
    mean = [f"{sum(own) / len(own):.2f}" if own else "" for own in (sizes, facts)]
    print("| tasks | rubrics that can be read | criteria of these | facts that they name |\n| --- | --- | --- | --- |")
    print(f"| {count} | {len(sizes)} | {' | '.join(mean)} |\n{dict(faults)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else 64)
