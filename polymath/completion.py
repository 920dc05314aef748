"""What a model wrote for one row, as rewards and evaluation see it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polymath.chat import Format, Mode, parse
from polymath.chat.tokens import END_THINK
from polymath.domains.task import Message
from polymath.judging import Vote

Turn = Mapping[str, Any]  # as `polymath.chat.parse` returns it: content, reasoning, tool_calls, faults


@dataclass(frozen=True)
class Completion:
    """An episode that has ended, without its tensors.

    `turns` are what the model wrote, parsed; what tools answered is not there. `tokens` and `reasoning_tokens` count
    what the model wrote, as it was sampled. `reward` names the verifier of its row, and `answer` is what that reads.
    `length_penalty` is its mode's k. `name` tells it from the others of a stage.
    `rubric` is what a judge goes by (`polymath.judging.Rubric` as JSON), `votes` what it said, if it was asked.
    """

    turns: tuple[Turn, ...]
    reward: str
    answer: str
    domain: str = ""
    mode: str = "non_think"
    think: Mode = "non_think"
    prompt: str = ""
    budget: int = 0
    tokens: int = 0
    reasoning_tokens: int = 0
    length_penalty: float = 0.0
    name: str = ""
    rubric: str = ""
    votes: tuple[Vote, ...] = ()

    @property
    def faults(self) -> tuple[str, ...]:
        """What breaks the format, in any of its turns; without one, everything can be read."""
        found = [fault for turn in self.turns for fault in turn.get("faults", ())]
        return tuple(fault.message for fault in found) if self.turns else ("no turn at all",)

    @property
    def content(self) -> str:
        """The answer: what the last turn says beside its reasoning."""
        return self.turns[-1]["content"] if self.turns else ""

    @property
    def reasoning(self) -> str:
        """The reasoning of all turns."""
        return "\n\n".join(turn["reasoning"] for turn in self.turns if turn["reasoning"])

    def keeps_format(self) -> bool:
        """Whether every turn can be read, and the first one reasons if and only if its mode does."""
        return not self.faults and bool(self.turns[0]["reasoning"].strip()) == (self.think != "non_think")


def read(
    row: Mapping[str, Any],
    texts: Sequence[str],
    ids: Sequence[Sequence[int]],
    tokenizer: Any,
    form: Format,
    name: str = "",
) -> Completion:
    """The completion of a row (`vars(Row)`): the turns that the model wrote, as text and as token ids."""
    turns = tuple(parse(text, row["think"], strict=False, eos_token=form.eos_token) for text in texts)
    reasoning = 0
    if row["think"] != "non_think":
        reasoning = sum(_reasoning(own, turn, tokenizer) for own, turn in zip(ids, turns, strict=True))
    same = ("reward", "answer", "domain", "mode", "think", "prompt", "budget", "length_penalty", "rubric")
    return Completion(
        turns=turns,
        tokens=sum(map(len, ids)),
        reasoning_tokens=reasoning,
        name=name,
        **{key: row[key] for key in same},
    )


def _reasoning(ids: Sequence[int], turn: Turn, tokenizer: Any) -> int:
    """Tokens of a turn before its reasoning is closed, all of them where it never is."""
    close = tokenizer.convert_tokens_to_ids(END_THINK)  # `get_vocab` would copy the vocabulary for every completion
    if close in (None, tokenizer.unk_token_id):  # the mark is several tokens here
        return len(tokenizer.encode(turn["reasoning"], add_special_tokens=False))
    return list(ids).index(close) if close in ids else len(ids)


def demonstrated(messages: Sequence[Message], reward: str, answer: str, domain: str = "") -> Completion:
    """The completion that a task's demonstration is."""
    turns = tuple(_as_parsed(message) for message in messages if message["role"] == "assistant")
    return Completion(turns=turns, reward=reward, answer=answer, domain=domain)


def _as_parsed(message: Message) -> Turn:
    calls = [
        {"function": {"name": call["function"]["name"], "arguments": json.dumps(call["function"]["arguments"])}}
        for call in message.get("tool_calls") or ()
    ]
    return {
        "role": "assistant",
        "content": message.get("content") or "",
        "reasoning": message.get("reasoning") or "",
        "tool_calls": calls,
        "faults": [],
    }
