"""`polymath new`: a recipe for people's own files, with what was found in them."""

import json
import math
import os
import statistics
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from polymath import models
from polymath.chat import FormatKind, Segment, V4Format, format_for
from polymath.dataset.functions import meant
from polymath.dataset.inspection import UNSURE, Inspection, inspect
from polymath.dataset.layouts import Conversation, Part
from polymath.dataset.reading import Place, Read, read
from polymath.domains import HELD_OUT_SHARE, held_out_count, is_held_out
from polymath.domains.dataset import DatasetDomain
from polymath.vocabulary import missing_tokens

BYTES_A_TOKEN = 4  # where there is no tokenizer to ask
AROUND = 8  # tokens to spare
STEP = 64  # lengths are rounded up to
BATCH, EPOCHS, LONGEST = 16, 3, 4096
OUTLIERS, LEAST_ROWS, FAR = 100, 20, 2  # one in so many may be cut off, of so many or more, if so many times as long
ADAPTER = "lora: {r: 16, lora_alpha: 32}\n    learning_rate: 2e-4"
WHOLE = "learning_rate: 3e-3  # all weights, for these are random; with a model of yours 2e-4, and lora: {r: 16}"
LACKS = "  # whose tokens this model lacks: vLLM takes what is exported with --form merged"
OF_A_MODEL = ("config.json", "tokenizer.json", "tokenizer_config.json")  # one of these files
MOST_SCORED = 200  # held-out tasks
MOST_COLUMNS = 8  # that are named
MOST_LANGUAGES, LEAST_SHARE = 5, 0.01  # less is as likely a mistake


@dataclass(frozen=True)
class Findings:
    """What a recipe is written from."""

    name: str
    files: tuple[Path, ...]  # as somebody typed them
    domain: DatasetDomain
    model: str | None  # as a recipe names it
    counted: bool  # by the model's tokenizer
    chat: FormatKind
    new_tokens: bool  # that its vocabulary is given
    seen: Inspection
    trained: int  # answers
    held_out: int  # tasks that are scored
    questions: int  # that rows begin with, each with all its rows on one side

    def whole(self) -> str:
        """Why nothing is held out; empty where something is."""
        if self.held_out:
            return ""
        if self.questions == 1:
            return "every row begins with the same question, and rows of one question go to one side"
        return f"one question in {HELD_OUT_SHARE} is, by chance, and of {self.questions} it was none: add others"

    def length(self) -> int:
        """Tokens that a row may have: all of them, as far as that is usual."""
        return min(LONGEST, _rounded(usual_length(self.seen.lengths.values()) + AROUND))

    def budget(self) -> int:
        """Tokens that an answer may have: what a row may have, as far as any answer comes up to that."""
        answers = [count for count in self.seen.answers if count <= self.length()]
        return min(LONGEST, _rounded(max(answers, default=self.length()) + AROUND))


def look(
    name: str,
    files: tuple[Path, ...],
    columns: Mapping[Part, str],
    model: str | None,
    language_of: Callable[[str], str | None],
) -> Findings:
    """Read and look at everything. Raises `ValueError` where there is nothing to read, or no such model."""
    # of links in a circle pathlib's `resolve` raises an error that is no OSError
    typed = {Path(os.path.realpath(path.expanduser())): path for path in files}
    if len(typed) < len(files):
        raise ValueError(f"--data {' '.join(map(str, files))}: a file is named twice")
    found = _as_typed(read(tuple(typed), columns), typed)
    try:
        domain = DatasetDomain(files=files, columns=columns, bad_rows=len(found.bad))
    except ValidationError as error:
        raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from error
    path = models.PretrainedModel(name=model).path() if model else None
    if path is not None and not path.exists():
        raise ValueError(f"--model {model}: no such folder or file; a hub id reads owner/name")
    if path is not None and path.is_dir() and not any((path / own).exists() for own in OF_A_MODEL):
        raise ValueError(f"--model {model}: holds no model, for there is no {' and no '.join(OF_A_MODEL)} in it")
    tokenizer = models.load_tokenizer(path) if path is not None and path.is_dir() else None

    def tokens(text: str) -> int:
        if tokenizer is None:
            return len(text.encode()) // BYTES_A_TOKEN
        return len(tokenizer.encode(text, add_special_tokens=False))

    chat = _chat(found, model)
    missing = missing_tokens(tokenizer) if tokenizer is not None and chat == "v4" else []
    if tokenizer is not None:
        tokenizer.add_tokens(missing)  # as the run will; they count as one each then
    form = V4Format() if tokenizer is None or chat == "v4" else format_for("native", tokenizer)

    def segments(own: Conversation) -> list[Segment]:
        reasons = any(message.get("reasoning") for message in own.messages)
        return form.conversation(own.messages, "high" if reasons else "non_think", own.tools)

    seen, split = inspect(found, segments, tokens, language_of), _split(domain)
    return Findings(name, files, domain, model, tokenizer is not None, chat, bool(missing), seen, *split)


def _split(domain: DatasetDomain) -> tuple[int, int, int]:
    """Answers to train on, tasks to score, and questions. Raises `ValueError` where there is nothing to train on."""
    sides = {task.key: is_held_out(task) for task in domain.tasks()}
    if all(sides.values()):
        asked = "one question, which is" if len(sides) == 1 else f"{len(sides)} questions, all of which are"
        raise ValueError(
            f"rows begin with {asked} held out, by chance: nothing is left to train on; add rows with others"
        )
    trained = sum(not sides[task.key] for task in domain.tasks())
    return trained, held_out_count(domain, MOST_SCORED), len(sides)


def told(own: Findings) -> Iterator[tuple[str, str]]:
    """What was found, a line each: what, and how much."""
    seen, about = own.seen, "" if own.counted else "about "
    yield "rows", f"{seen.rows}, and {len(seen.bad)} that cannot be used"
    yield "messages", ", ".join(f"{count} {role}" for role, count in seen.messages.most_common())
    if seen.having:
        yield "with", ", ".join(f"{name} in {count}" for name, count in seen.having.most_common())
    lengths = seen.lengths.values()
    middle, longest = statistics.median(lengths), max(lengths)
    yield "tokens", f"{about}{sum(lengths)}; a row has {middle:.0f} in the middle, and {longest} at most"
    middle, longest = statistics.median(seen.answers), max(seen.answers)
    yield "answers", f"{about}{middle:.0f} tokens in the middle, {longest} at most"
    if over := seen.over(own.length()):
        yield "too long", f"{len(over)} with over {own.length()} tokens, and cut off there{_lost(own)}"
    if languages := _languages(seen):
        yield "languages", languages
    if whole := own.whole():
        yield "held out", f"nothing: {whole}"
    if seen.duplicates:
        yield "twice", f"{len(seen.duplicates)} with what an earlier one says"
    if seen.unused:
        columns = [f"{name} in {count}" for name, count in seen.unused.most_common(MOST_COLUMNS)]
        yield "not used", f"columns: {', '.join(columns)}"
    yield from _told_of_functions(seen)
    for kind, places in seen.suspects.items():
        yield kind, f"{len(places)} with what looks like it, {places[0]} for one"


def _lost(own: Findings) -> str:
    """Of how many answers nothing is left by the cut."""
    lost = sum(own.seen.unanswered(own.length()).values())
    return f"; {lost} of {len(own.seen.answers)} answers begin only after that, and teach nothing" if lost else ""


def _languages(seen: Inspection) -> str:
    """The commonest ones, and how many others there are; empty where no row says anything."""
    if not seen.languages:
        return f"the {seen.too_short} rows that were looked at are too short to tell" if seen.too_short else ""
    total = seen.languages.total()
    named = {own: n / total for own, n in seen.languages.most_common(MOST_LANGUAGES) if n / total >= LEAST_SHARE}
    told = ", ".join(f"{name} {share:.0%}" for name, share in named.items())
    others = len(seen.languages.keys() - named.keys() - {UNSURE})
    short = f"; {seen.too_short} more are too short to tell" if seen.too_short else ""
    return f"{told}{f', and {others} more' if others else ''}, of {total} that were looked at{short}"


def _told_of_functions(seen: Inspection) -> Iterator[tuple[str, str]]:
    """The first one of each kind, for all rows of a file may have the same."""
    if seen.misfits:
        place, fault = next(iter(seen.misfits.items()))
        yield "calls", f"{len(seen.misfits)} that their functions do not take, {place} for one: {fault}"
    if seen.functions:
        place, fault = next(iter(seen.functions.items()))
        yield "functions", f"{len(seen.functions)} rows with one whose schema is at fault, {place} for one: {fault}"
    if seen.types:
        types = ", ".join(f"{kind} in {count} ({meant(kind)})" for kind, count in _commonest(seen.types))
        yield "types", f"of arguments that JSON schema does not have, and servers may refuse: {types}"
    if seen.unread:
        keywords = ", ".join(f"{keyword} in {count}" for keyword, count in _commonest(seen.unread))
        yield "unchecked", f"{keywords}: with these keywords of schemas no call is compared"


def _commonest(places: Mapping[str, Collection[Place]]) -> list[tuple[str, int]]:
    counts = [(name, len(own)) for name, own in places.items()]
    return sorted(counts, key=lambda own: -own[1])[:MOST_COLUMNS]


def noted(own: Findings) -> Iterator[dict[str, Any]]:
    """Every row that somebody should look at, with the reason."""
    found = [(place, "cannot be used", fault) for place, fault in own.seen.bad.items()]
    lost = {
        place: f", before {count} of its {len(own.seen.prompts[place])} answers"
        for place, count in own.seen.unanswered(own.length()).items()
    }
    found += [
        (place, "too long", f"{length} tokens, and cut off at {own.length()}{lost.get(place, '')}")
        for place, length in own.seen.over(own.length()).items()
    ]
    found += [(place, "call", fault) for place, fault in own.seen.misfits.items()]
    found += [(place, "not on offer", fault) for place, fault in own.seen.not_offered.items()]
    found += [(place, "function", fault) for place, fault in own.seen.functions.items()]
    found += [(places[0], "type", f"{kind}, in {len(places)} rows") for kind, places in own.seen.types.items()]
    found += [(places[0], "unchecked", f"{name}, in {len(places)} rows") for name, places in own.seen.unread.items()]
    found += [(place, "twice", f"says what {first} says") for place, first in own.seen.duplicates.items()]
    found += [(place, kind, "looks like it") for kind, places in own.seen.suspects.items() for place in places]
    for place, finding, detail in found:
        yield {"file": str(place.path), "line": place.line, "finding": finding, "detail": detail}


def recipe(own: Findings) -> str:
    """A recipe that fine-tunes on these files, an adapter where there is a model, and scores what is held out."""
    mode = "high" if own.seen.having["reasoning"] * 2 > own.seen.rows else "non_think"
    given = own.domain.model_dump(mode="json", exclude_defaults=True, exclude={"kind", "files"})
    given = {"kind": "dataset", "files": [str(path) for path in own.files]} | given
    over = len(own.seen.over(own.length()))
    comments = "".join(f"#   {what:<14} {how}\n" for what, how in told(own))
    room = max(models.TinyModel.model_fields["max_position_embeddings"].default, 2 * own.length())
    tiny = f"{{init: qwen3, max_position_embeddings: {room}}}  # tiny: name yours, {{name: ./folder}}"
    model = f"{{name: {json.dumps(own.model)}}}" if own.model else tiny
    scored = f"models: [base, tuned], domains: [{own.name}], num_prompts: {own.held_out}"
    return f"""\
# Written by `polymath new`, which found
{comments}name: {own.name}
seed: 0
model: {model}
chat: {own.chat}{LACKS * own.new_tokens}

domains:  # one conversation in eight is held out
  {own.name}: {json.dumps(given)}

modes:
  {mode}: {{max_completion_length: {own.budget()}}}

stages:
  tuned:
    kind: sft
    domains: [{own.name}]
    {ADAPTER if own.model else WHOLE}
    lr_scheduler_type: cosine
    warmup_steps: 10
    per_device_train_batch_size: {BATCH}
    max_length: {own.length()}{f"  # {over} rows are longer, and cut off{_lost(own)}" if over else ""}
    max_steps: {math.ceil(EPOCHS * own.trained / BATCH)}  # {own.trained} answers, {EPOCHS} times each
  {f"scores: {{kind: eval, {scored}}}" if own.held_out else f"# nothing to score: {own.whole()}"}
"""


def _as_typed(found: Read, typed: Mapping[Path, Path]) -> Read:
    """The same, with every place in the file as somebody typed it."""

    def named(rows: Mapping[Place, Any]) -> dict[Place, Any]:
        return {Place(typed[place.path], place.line): row for place, row in rows.items()}

    return Read(named(found.conversations), named(found.bad), found.unused)


def _chat(found: Read, model: str | None) -> FormatKind:
    """V4 where there are functions: servers tell its calls from text, and a model's own template may know of none."""
    calls = any(own.tools for own in found.conversations.values())
    return "v4" if calls or model is None else "native"


def usual_length(lengths: Collection[int]) -> int:
    """Of the longest; of the longest but for one in a hundred where that one is far longer: all would pay for it."""
    ordered = sorted(lengths)
    spared = math.ceil(len(ordered) / OUTLIERS) if len(ordered) >= LEAST_ROWS else 0
    usual = ordered[-1 - spared]
    return ordered[-1] if ordered[-1] <= FAR * usual else usual


def _rounded(tokens: int) -> int:
    return math.ceil(tokens / STEP) * STEP
