"""What people might have judged, for judge_comparisons.yaml: answers to sums, right or a slip away, and which they are.

python docs/results/comparisons.py COUNT > FILE.jsonl

The tasks are of those that may be trained on; labels are what the sums are, so that these people never err.
"""

import json
import sys

from polymath.domains import MathDomain, training_tasks

SEED = 7  # none of a run's


def lines(count: int) -> list[dict[str, object]]:
    """So many, each task once, as many right as wrong."""
    domain = MathDomain(min_operand=10, max_operand=49, slips=0.5)
    found: dict[str, dict[str, object]] = {}
    due = {0.0: count // 2, 1.0: count - count // 2}
    for task in training_tasks(domain, 20 * count, SEED):
        asked, response = task.messages[-1]["content"], task.demonstration[-1]["content"]
        label = float(response == task.answer)
        if task.key not in found and due[label]:
            due[label] -= 1
            found[task.key] = {"task": asked, "responses": [response], "labels": [label]}
    assert len(found) == count, f"only {len(found)}"
    return list(found.values())


if __name__ == "__main__":
    sys.stdout.write("".join(f"{json.dumps(own)}\n" for own in lines(int(sys.argv[1]))))
