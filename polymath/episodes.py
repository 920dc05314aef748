"""Episodes: the model writes, what it calls is executed, and it goes on, until it calls nothing more.

    while some episode is open:
        sample the next turn of every open one, each within what is left of its budget
        close those that called nothing, broke the format, or have no tokens left
        append to the others what their calls gave, and the header of the next turn

Token ids are only ever appended: what was sampled is what is trained on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from polymath.chat import Format, Mode, parse
from polymath.domains.environment import open_environment
from polymath.engine.protocol import Engine, Request, Sample, Sampling
from polymath.engine.wal import LoggedEngine
from polymath.vocabulary import decode

MAX_TURNS = 8  # of one episode, however short they are


@dataclass
class Episode:
    """One sample in the making: `ids` follow the prompt, `mask` is 1 where the model wrote them.

    `logprobs` and `kept` (see `Sample`) have an entry for each of `ids`, empty ones where a tool wrote, if the sampling
    asks for them.
    """

    name: str  # in logs: the step, and its place in the batch
    prompt_ids: list[int]
    think: Mode
    budget: int
    environment: str
    ids: list[int] = field(default_factory=list)
    mask: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    kept: list[list[int]] = field(default_factory=list)
    turns: list[str] = field(default_factory=list)  # what the model wrote, turn by turn
    turn_ids: list[list[int]] = field(default_factory=list)
    is_truncated: bool = False  # its budget or the context ended it, and no stop token

    def __post_init__(self) -> None:
        self.desk = open_environment(self.environment)

    def left(self) -> int:
        """Tokens that the model may still write."""
        return self.budget - sum(self.mask)

    def room(self, max_length: int | None) -> int:
        """Tokens that fit into the context; ValueError where the prompt alone fills it."""
        if max_length is None:
            return self.budget
        if len(self.prompt_ids) >= max_length:
            raise ValueError(
                f"a prompt has {len(self.prompt_ids)} tokens, and prompt and completion have room for {max_length}: "
                "raise vllm_max_model_length, as far as the model goes, or shorten the domain's prompts"
            )
        return max_length - len(self.prompt_ids) - len(self.ids)

    def request(self, sampling: Sampling, max_length: int | None) -> Request:
        """Its next turn, to be sampled."""
        within = replace(sampling, max_tokens=min(self.left(), self.room(max_length)))
        return Request(f"{self.name}/{len(self.turns)}", self.prompt_ids + self.ids, within)

    def write(self, sample: Sample, text: str) -> None:
        """Append a turn of the model."""
        self._extend(sample.ids, sample.logprobs, sample.kept, 1)
        self.turn_ids.append(sample.ids)
        self.turns.append(text)

    def hear(self, ids: list[int]) -> None:
        """Append what the model did not write."""
        self._extend(ids, [0.0] * len(ids), None, 0)

    def _extend(self, ids: list[int], logprobs: list[float], kept: list[list[int]] | None, written: int) -> None:
        self.ids += ids
        self.mask += [written] * len(ids)
        self.logprobs += logprobs
        self.kept += kept if kept is not None else [[]] * len(ids)


def begun(rows: Sequence[Mapping[str, Any]], names: Sequence[str], tokenizer: Any) -> list[Episode]:
    """An episode for each row (`vars(Row)`), with these names in logs, of which nothing is written yet."""
    # A row's prompt is complete: a tokenizer that adds a token of its own would change what SFT trained on
    prompts = tokenizer(text=[row["prompt"] for row in rows], add_special_tokens=False)["input_ids"]
    return [
        Episode(name, ids, row["think"], row["budget"], row["environment"])
        for name, ids, row in zip(names, prompts, rows, strict=True)
    ]


def play_rows(
    rows: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    engine: Engine | LoggedEngine,
    tokenizer: Any,
    form: Format,
    temperature: float,
) -> list[Episode]:
    """Rows as episodes, from beginning to end; see `begun`."""
    episodes = begun(rows, names, tokenizer)
    sampling = Sampling(0, (tokenizer.eos_token_id,), temperature, logprobs=False)
    play(episodes, engine.generate, sampling, tokenizer, form, engine.max_length)
    return episodes


def play(
    episodes: Sequence[Episode],
    sample: Callable[[list[Request]], list[Sample]],
    sampling: Sampling,
    tokenizer: Any,
    form: Format,
    max_length: int | None = None,
) -> None:
    """Bring every episode to its end, in place.

    `max_length` is the most tokens of a prompt and all that follows; an episode that has no room left ends.
    """
    open_ones = list(episodes)
    while open_ones:
        samples = sample([episode.request(sampling, max_length) for episode in open_ones])
        going_on = []
        for episode, own in zip(open_ones, samples, strict=True):
            episode.write(own, decode(tokenizer, own.ids))
            episode.is_truncated = not set(own.ids[-1:]) & set(sampling.stop_token_ids)
            if answered := _answer(episode, form):
                given = tokenizer.encode(answered, add_special_tokens=False)
                episode.is_truncated = len(given) >= episode.room(max_length)
                if not episode.is_truncated:
                    episode.hear(given)
                    going_on.append(episode)
        open_ones = going_on


def _answer(episode: Episode, form: Format) -> str:
    """What follows the turn that was just written; nothing where the episode ends with it."""
    if episode.desk is None or episode.left() <= 0 or len(episode.turns) == MAX_TURNS:
        return ""
    turn = parse(episode.turns[-1], episode.think, strict=False, eos_token=form.eos_token)
    if turn["faults"] or not turn["tool_calls"]:
        return ""
    calls = (call["function"] for call in turn["tool_calls"])
    return form.results([episode.desk.run(call["name"], call["arguments"]) for call in calls], episode.think)
