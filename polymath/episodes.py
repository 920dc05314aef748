"""Episodes: the model writes, what it calls is executed, and it goes on, until it calls nothing more.

    while some episode is open:
        sample the next turn of every open one, each within what is left of its budget
        close those that called nothing, broke the format, or have no tokens left
        append to the others what their calls gave, and the header of the next turn

Token ids are only ever appended: what was sampled is what is trained on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from polymath.chat import Format, Mode, parse
from polymath.domains.environment import open_environment
from polymath.vocabulary import decode

MAX_TURNS = 8  # of one episode, however short they are

# prompts as ids, the most tokens of each -> sampled ids, and their log-probabilities where the sampler gives them
Sampler = Callable[[list[list[int]], list[int]], tuple[list[list[int]], list[list[float]] | None]]


@dataclass
class Episode:
    """One sample in the making: `ids` follow the prompt, `mask` is 1 where the model wrote them."""

    prompt_ids: list[int]
    think: Mode
    budget: int
    environment: str
    ids: list[int] = field(default_factory=list)
    mask: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    turns: list[str] = field(default_factory=list)  # what the model wrote, turn by turn
    turn_ids: list[list[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.desk = open_environment(self.environment)

    def left(self) -> int:
        """Tokens that the model may still write."""
        return self.budget - sum(self.mask)

    def room(self, max_length: int | None) -> int:
        """Tokens that fit into the context; at least one for a turn, so that a prompt which fills it fails loudly."""
        return self.budget if max_length is None else max(1, max_length - len(self.prompt_ids) - len(self.ids))

    def extend(self, ids: Sequence[int], logprobs: Sequence[float] | None, *, written: bool) -> None:
        """Append tokens; those that the model did not write have no log-probability."""
        self.ids += ids
        self.mask += [int(written)] * len(ids)
        self.logprobs += logprobs if logprobs is not None else [0.0] * len(ids)


def play(
    episodes: Sequence[Episode], sample: Sampler, tokenizer: Any, form: Format, max_length: int | None = None
) -> bool:
    """Bring every episode to its end, in place; returns whether the sampler gave log-probabilities.

    `max_length` is the most tokens of a prompt and all that follows; an episode that has no room left ends.
    """
    open_ones, gave_logprobs = list(episodes), False
    while open_ones:
        budgets = [min(e.left(), e.room(max_length)) for e in open_ones]
        ids, logprobs = sample([e.prompt_ids + e.ids for e in open_ones], budgets)
        gave_logprobs = logprobs is not None
        going_on = []
        for index, episode in enumerate(open_ones):
            own = ids[index][: budgets[index]]
            episode.extend(own, logprobs[index][: len(own)] if logprobs else None, written=True)
            episode.turn_ids.append(own)
            episode.turns.append(decode(tokenizer, own))
            if answered := _answer(episode, form):
                given = tokenizer.encode(answered, add_special_tokens=False)
                if len(given) < episode.room(max_length):
                    episode.extend(given, None, written=False)
                    going_on.append(episode)
        open_ones = going_on
    return gave_logprobs


def _answer(episode: Episode, form: Format) -> str:
    """What follows the turn that was just written; nothing where the episode ends with it."""
    if episode.desk is None or episode.left() <= 0 or len(episode.turns) == MAX_TURNS:
        return ""
    turn = parse(episode.turns[-1], episode.think, strict=False, eos_token=form.eos_token)
    if turn["faults"] or not turn["tool_calls"]:
        return ""
    calls = (call["function"] for call in turn["tool_calls"])
    return form.results([episode.desk.run(call["name"], call["arguments"]) for call in calls], episode.think)
