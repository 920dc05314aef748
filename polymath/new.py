"""`polymath new`: a recipe for people's own files, with what was found in them."""

import json
import math
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from polymath import models
from polymath.chat import Segment, V4Format, format_for
from polymath.dataset.inspection import Inspection, inspect
from polymath.dataset.layouts import Conversation, Part
from polymath.dataset.reading import read
from polymath.domains import held_out_count, is_held_out
from polymath.domains.dataset import DatasetDomain

BYTES_A_TOKEN = 4  # where there is no tokenizer to ask
AROUND = 8  # tokens to spare
STEP = 64  # lengths are rounded up to
BATCH, EPOCHS, LONGEST = 16, 3, 4096
MOST_SCORED = 200  # held-out tasks


@dataclass(frozen=True)
class Findings:
    """What a recipe is written from."""

    name: str
    domain: DatasetDomain
    model: str | None  # as a recipe names it
    counted: bool  # by the model's tokenizer
    seen: Inspection

    def length(self) -> int:
        """Tokens that a row may have: all of them, as far as that is usual."""
        return min(LONGEST, _rounded(max(self.seen.lengths) + AROUND))


def look(
    name: str,
    files: tuple[Path, ...],
    columns: Mapping[Part, str],
    model: str | None,
    language_of: Callable[[str], str | None],
) -> Findings:
    """Read and look at everything. Raises `ValueError` where there is nothing to read, or no such model."""
    found = read(tuple(path.expanduser().resolve() for path in files), columns)
    try:
        domain = DatasetDomain(files=files, columns=columns, bad_rows=len(found.bad))
    except ValidationError as error:
        raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from error
    path = models.PretrainedModel(name=model).path() if model else None
    if path is not None and not path.exists():
        raise ValueError(f"--model {model}: no such folder or file; a hub id reads owner/name")
    tokenizer = models.load_tokenizer(path) if path is not None and path.is_dir() else None

    def tokens(text: str) -> int:
        if tokenizer is None:
            return len(text.encode()) // BYTES_A_TOKEN
        return len(tokenizer.encode(text, add_special_tokens=False))

    form = V4Format() if tokenizer is None else format_for("native", tokenizer)

    def segments(own: Conversation) -> list[Segment]:
        reasons = any(message.get("reasoning") for message in own.messages)
        return form.conversation(own.messages, "high" if reasons else "non_think", own.tools)

    return Findings(name, domain, model, tokenizer is not None, inspect(found, segments, tokens, language_of))


def told(own: Findings) -> Iterator[tuple[str, str]]:
    """What was found, a line each: what, and how much."""
    seen, about = own.seen, "" if own.counted else "about "
    yield "rows", f"{seen.rows}, and {len(seen.bad)} that cannot be used"
    yield "messages", ", ".join(f"{count} {role}" for role, count in seen.messages.most_common())
    if seen.having:
        yield "with", ", ".join(f"{name} in {count}" for name, count in seen.having.most_common())
    middle, longest = statistics.median(seen.lengths), max(seen.lengths)
    yield "tokens", f"{about}{sum(seen.lengths)}; a row has {middle:.0f} in the middle, and {longest} at most"
    middle, longest = statistics.median(seen.answers), max(seen.answers)
    yield "answers", f"{about}{middle:.0f} tokens in the middle, {longest} at most"
    if over := seen.over(own.length()):
        yield "too long", f"{over} with over {own.length()} tokens, and cut off there"
    if seen.languages:
        shares = [(name, count / seen.languages.total()) for name, count in seen.languages.most_common(5)]
        yield "languages", ", ".join(f"{name} {share:.0%}" for name, share in shares)
    if seen.duplicates:
        yield "twice", f"{len(seen.duplicates)} with what an earlier one says"
    for kind, places in seen.suspects.items():
        yield kind, f"{len(places)} with what looks like it, {places[0]} for one"


def noted(own: Findings) -> Iterator[dict[str, Any]]:
    """Every row that somebody should look at, with the reason."""
    found = [(place, "cannot be used", fault) for place, fault in own.seen.bad.items()]
    found += [(place, "twice", f"says what {first} says") for place, first in own.seen.duplicates.items()]
    found += [(place, kind, "looks like it") for kind, places in own.seen.suspects.items() for place in places]
    for place, finding, detail in found:
        yield {"file": str(place.path), "line": place.line, "finding": finding, "detail": detail}


def recipe(own: Findings) -> str:
    """A recipe that fine-tunes an adapter on these files and scores it on what is held out."""
    tasks = list(own.domain.tasks())
    held_out = held_out_count(own.domain, MOST_SCORED)
    trained = sum(not is_held_out(task) for task in tasks)
    mode = "high" if own.seen.having["reasoning"] * 2 > own.seen.rows else "non_think"
    given = own.domain.model_dump(mode="json", exclude_defaults=True, exclude={"kind"})
    comments = "".join(f"#   {what:<14} {how}\n" for what, how in told(own))
    room = max(models.TinyModel.model_fields["max_position_embeddings"].default, 2 * own.length())
    tiny = f"{{init: qwen3, max_position_embeddings: {room}}}  # tiny: name yours, {{name: ./folder}}"
    model = f"{{name: {json.dumps(own.model)}}}" if own.model else tiny
    scored = f"models: [base, tuned], domains: [{own.name}], num_prompts: {held_out}"
    return f"""\
# Written by `polymath new`, which found
{comments}name: {own.name}
seed: 0
model: {model}
chat: {"native" if own.model else "v4"}

domains:  # one conversation in eight is held out
  {own.name}: {json.dumps({"kind": "dataset"} | given)}

modes:
  {mode}: {{max_completion_length: {_rounded(max(own.seen.answers) + AROUND)}}}

stages:
  tuned:
    kind: sft
    domains: [{own.name}]
    lora: {{r: 16, lora_alpha: 32}}
    learning_rate: 2e-4
    lr_scheduler_type: cosine
    warmup_steps: 10
    per_device_train_batch_size: {BATCH}
    max_length: {own.length()}
    max_steps: {math.ceil(EPOCHS * trained / BATCH)}  # {trained} answers, {EPOCHS} times each
  {f"scores: {{kind: eval, {scored}}}" if held_out else "# too few rows to hold one out"}
"""


def _rounded(tokens: int) -> int:
    return math.ceil(tokens / STEP) * STEP
