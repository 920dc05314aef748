"""What the reasons of a judge of texts are worth: whether they quote right, and then say yes or no right.

python docs/results/reasons.py RUN/joint/judgments.jsonl FIRST LAST
"""

import json
import re
import sys
from collections import Counter
from pathlib import Path

LINE = re.compile(r"\d\. (.*) / (.*): (yes|no)")  # what is asked, what is found, and whether that is it
FACTS, ASKED = 3, ("names and product", "year", "numbers", "length")


def main(path: Path, first: int, last: int) -> None:
    """Print a row for each criterion of the judging tasks of some steps."""
    seen, quoted, right = Counter[int](), Counter[int](), Counter[int]()
    for text in path.read_text().splitlines():
        own = json.loads(text)
        if own["purpose"] == "task" and first <= own["step"] <= last:
            for place, (line, label) in enumerate(zip(own["reasoning"].split("\n"), own["criteria"], strict=False)):
                if label is not None and (found := LINE.fullmatch(line)):
                    seen[place] += 1
                    quoted[place] += (found[1] == found[2]) == bool(label)
                    right[place] += (found[3] == "yes") == bool(label)
    sys.stdout.write("| criterion | reasons | quoted right, % | yes or no right, % |\n| --- | --- | --- | --- |\n")
    for place, count in sorted(seen.items()):
        quote = f"{100 * quoted[place] / count:.0f}" if place < FACTS else ""  # words are counted, and not quoted
        sys.stdout.write(f"| {ASKED[place]} | {count} | {quote} | {100 * right[place] / count:.0f} |\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
