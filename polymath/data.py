"""Rows: tasks rendered for one model and mode. A row is the one type from the domain to the loss."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from polymath.chat import Format, Mode, Segment
from polymath.domains import Domain, training_tasks
from polymath.domains.task import Task, question
from polymath.stage import ModeConfig

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase


NO_ANSWER = "no token of any answer is kept"
JUDGE = "judge"  # in the place of a domain and of a mode, where the model judges


@dataclass(frozen=True)
class Row:
    """A task in one think mode, as text.

    `prompt` ends where the model begins to write. `completion` is the demonstration: what the model writes to the end
    of its last turn, and between that what tools answer. `think` is how the mode is rendered, `budget` the most tokens
    that the model may write, `length_penalty` what its reasoning costs. `environment` executes its calls. `answer` is
    what the verifier named `reward` reads, `rubric` what a judge goes by (`polymath.judging.Rubric` as JSON), `asked`
    what the messages say, as a judge is shown it, and `task` the same for one task in every mode, and for no other.
    """

    prompt: str
    completion: tuple[Segment, ...]
    domain: str
    mode: str
    think: Mode
    budget: int
    reward: str
    answer: str
    environment: str = ""
    length_penalty: float = 0.0
    asked: str = ""
    rubric: str = ""
    task: str = ""


def training_rows(
    domains: Mapping[str, Domain],
    shares: Mapping[str, int],
    modes: Mapping[str, ModeConfig],
    count: int,
    seed: int,
    form: Format,
    modes_per_task: int = 1,
) -> list[Row]:
    """At least `count` rows, in turn from the domains by their shares and from every mode, none of them held out.

    A task stands in `modes_per_task` rows, one after the other, each in another mode; the last one does, too.
    """
    turn = [name for name, share in shares.items() for _ in range(share)]
    number = -(-count // modes_per_task)
    drawn = {name: turn.count(name) * -(-number // len(turn)) for name in shares}
    tasks = {name: iter(enumerate(training_tasks(domains[name], n, seed))) for name, n in drawn.items()}
    names = list(modes)
    rows = []
    for name in (turn[index % len(turn)] for index in range(number)):
        index, task = next(tasks[name])
        own = [names[(index * modes_per_task + place) % len(names)] for place in range(modes_per_task)]
        rows += [_row(name, domains[name].reward, task, mode, modes[mode], form) for mode in own]
    return rows


def held_out_rows(
    name: str, domain: Domain, tasks: Sequence[Task], modes: Mapping[str, ModeConfig], form: Format
) -> list[Row]:
    """Tasks that training never sees, each in every mode: all of them in one mode, then in the next."""
    return [_row(name, domain.reward, task, mode, config, form) for mode, config in modes.items() for task in tasks]


def _row(domain: str, reward: str, task: Task, mode: str, config: ModeConfig, form: Format) -> Row:
    asked = form.conversation(task.messages, config.think, task.tools)
    whole = form.conversation([*task.messages, *task.shown(mode)], config.think, task.tools)
    assert whole[: len(asked)] == asked  # what is trained on has to be what is continued when the model samples
    return Row(
        prompt="".join(segment.text for segment in asked),
        completion=tuple(whole[len(asked) :]),
        domain=domain,
        mode=mode,
        think=config.think,
        budget=config.max_completion_length,
        reward=reward,
        answer=task.answer,
        environment=task.environment,
        length_penalty=config.length_penalty,
        asked="\n\n".join(message["content"] for message in task.messages),
        rubric=task.rubric.model_dump_json() if task.rubric else "",
        task=_digest([task.messages, task.tools]),
    )


def judging_row(asked: str, answer: str, config: ModeConfig, form: Format) -> dict[str, Any]:
    """What a judge is asked, as a row of a batch (see `prompt_dataset`).

    `ValueError` where what is judged holds a token of the format.
    """
    prompt = "".join(segment.text for segment in form.conversation(question(asked), config.think, ()))
    budget = config.max_completion_length
    return _sampled(Row(prompt, (), JUDGE, JUDGE, config.think, budget, "judgment", answer, asked=asked))


def prompt_dataset(rows: Sequence[Row]) -> "Dataset":
    """Rows as the on-policy trainers read them; every column reaches the rewards and the loss."""
    from datasets import Dataset

    return Dataset.from_list([_sampled(row) for row in rows])


def _sampled(row: Row) -> dict[str, Any]:
    """What a row has where the model writes the completion."""
    return {key: value for key, value in vars(row).items() if key != "completion"}


def demonstration_dataset(rows: Sequence[Row], tokenizer: "PreTrainedTokenizerBase") -> "Dataset":
    """Rows as `SFTTrainer` reads them, tokenized here; what the model writes is trained on, and nothing else.

    Prompt and turns are encoded apart, as they are when the model samples: encoded as one text, tokens could merge
    across a boundary, and the model would train on a prompt that it never sees.
    """
    from datasets import Dataset

    return Dataset.from_list(demonstrations(rows, tokenizer))


def demonstrations(rows: Sequence[Row], tokenizer: "PreTrainedTokenizerBase") -> list[dict[str, list[int]]]:
    """Each row as lists of one length: `input_ids`, and `completion_mask`, which is 1 at what the model writes."""
    pieces = [[Segment(row.prompt), *row.completion] for row in rows]
    encoded = tokenizer([piece.text for own in pieces for piece in own], add_special_tokens=False)["input_ids"]
    ids = iter(encoded)
    return [_joined([(piece.generated, next(ids)) for piece in own]) for own in pieces]


def _joined(pieces: list[tuple[bool, list[int]]]) -> dict[str, list[int]]:
    return {
        "input_ids": [token for _, ids in pieces for token in ids],
        "completion_mask": [int(generated) for generated, ids in pieces for _ in ids],
    }


def over_budget(
    rows: Sequence[Row], tokenizer: "PreTrainedTokenizerBase", longest: int | None = None
) -> dict[str, tuple[Row, int]]:
    """Of each mode the longest demonstration that is longer than the model may write in it, and how long that is.

    Those of more than `longest` tokens are cut off before anything learns from them, and may be of any length.
    """
    texts = [[segment.text for segment in row.completion if segment.generated] for row in rows]
    lengths = iter(map(len, tokenizer([t for own in texts for t in own], add_special_tokens=False)["input_ids"]))
    found: dict[str, tuple[Row, int]] = {}
    for row, own in zip(rows, texts, strict=True):
        length = sum(next(lengths) for _ in own)
        if max(row.budget, found[row.mode][1] if row.mode in found else 0) < length <= (longest or length):
            found[row.mode] = row, length
    return found


def needs(row: Row, length: int) -> str:
    """What a mode's budget would have to be, in words."""
    return (
        f"a demonstration of the domain {row.domain!r} takes {length} tokens: raise it, or narrow the domain's settings"
    )


def check_budgets(rows: Sequence[Row], tokenizer: "PreTrainedTokenizerBase", longest: int | None = None) -> None:
    """Raise `ValueError` where a demonstration is longer than its mode lets the model write; see `over_budget`."""
    for mode, (row, length) in over_budget(rows, tokenizer, longest).items():
        raise ValueError(f"modes.{mode}.max_completion_length is {row.budget}, and {needs(row, length)}")


def without_answer(masks: Iterable[Sequence[int]], longest: int) -> tuple[int, str]:
    """How many rows keep no token that the model writes where the first `longest` are kept, and what would do.

    Nothing is learned from them: `SFTTrainer` leaves them out, and says so in no word.
    """
    begins, lengths = zip(*((_begin(mask), len(mask)) for mask in masks), strict=True)
    prompts = f"prompts take up to {max(begins)} tokens, and whole rows up to {max(lengths)}"
    return sum(begin >= longest for begin in begins), prompts


def _begin(mask: Sequence[int]) -> int:
    return next((place for place, written in enumerate(mask) if written), len(mask))


def digest(rows: Sequence[Row]) -> str:
    """SHA-256 of the rows' content."""
    return _digest([asdict(row) for row in rows])


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
