"""What stands in people's files: how much, by whom, how long, in which languages, and what should not be there."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from polymath.chat import Segment
from polymath.dataset.layouts import Conversation
from polymath.dataset.reading import Place, Read

LANGUAGES_OF = 500  # answers, spread over all of them: telling a language takes milliseconds
LEAST_LETTERS = 20  # of a text whose language can be told
# Forms that issuers have published, and what private keys begin with
SECRETS = {
    "private key": r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----",
    "AWS key": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{22,})\b",
    "Slack token": r"\bxox[abprs]-[A-Za-z0-9-]{10,}",
    "API key": r"\bsk-[A-Za-z0-9_-]{20,}",
    "Google key": r"\bAIza[A-Za-z0-9_-]{35}\b",
    "JSON web token": r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
    "password": r"(?i)\b(?:password|passwd|secret|api_key|access_token)\b\s*[:=]\s*['\"]?(?=\S*\d)[^\s'\"<>{}]{8,}",
    "e-mail address": r"\b[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b",
}
PATTERNS = {kind: re.compile(pattern) for kind, pattern in SECRETS.items()}


@dataclass
class Inspection:
    """Counts, and the places of what somebody should look at."""

    rows: int = 0
    bad: Mapping[Place, str] = field(default_factory=dict)
    messages: Counter[str] = field(default_factory=Counter)  # by role
    having: Counter[str] = field(default_factory=Counter)  # conversations with tools, calls, reasoning, several answers
    lengths: list[int] = field(default_factory=list)  # of each conversation, in tokens
    answers: list[int] = field(default_factory=list)  # of each answer
    duplicates: dict[Place, Place] = field(default_factory=dict)  # and what it repeats
    languages: Counter[str] = field(default_factory=Counter)
    suspects: dict[str, list[Place]] = field(default_factory=dict)

    def over(self, length: int) -> int:
        """Conversations that are longer."""
        return sum(own > length for own in self.lengths)


def inspect(
    found: Read,
    segments: Callable[[Conversation], list[Segment]],
    tokens: Callable[[str], int],
    language_of: Callable[[str], str | None],
) -> Inspection:
    """Look at everything, once.

    `segments` renders a conversation, functions on offer included, `tokens` counts those of a text, `language_of` tells
    a text's language.
    """
    out, known = Inspection(bad=found.bad), dict[tuple[str, ...], Place]()
    for place, own in found.conversations.items():
        out.rows += 1
        said = tuple(_texts(own))
        out.messages.update(message["role"] for message in own.messages)
        out.having.update(_having(own))
        each = [(segment.generated, tokens(segment.text)) for segment in segments(own)]
        out.lengths.append(sum(count for _, count in each))
        out.answers += [count for generated, count in each if generated]
        if (first := known.setdefault(said, place)) is not place:
            out.duplicates[place] = first
        for kind, pattern in PATTERNS.items():
            if any(pattern.search(text) for text in said):
                out.suspects.setdefault(kind, []).append(place)
    out.languages.update(_languages(list(found.conversations.values()), language_of))
    return out


def _texts(own: Conversation) -> Iterator[str]:
    for message in own.messages:
        yield message["role"]
        yield from _texts_of(message)


def _texts_of(message: Mapping[str, object]) -> list[str]:
    """All that a message says: its text, its reasoning, and its calls."""
    return [str(message[part]) for part in ("content", "reasoning", "tool_calls") if message.get(part)]


def _having(own: Conversation) -> Iterator[str]:
    answers = [message for message in own.messages if message["role"] == "assistant"]
    if own.tools:
        yield "tools"
    for part, name in (("tool_calls", "calls"), ("reasoning", "reasoning")):
        if any(answer[part] for answer in answers):
            yield name
    if sum(message["role"] == "user" for message in own.messages) > 1:
        yield "several questions"


def _languages(conversations: Sequence[Conversation], language_of: Callable[[str], str | None]) -> Iterator[str]:
    texts = (own.messages[-1]["content"] for own in conversations[:: -(-len(conversations) // LANGUAGES_OF) or 1])
    for text in islice(texts, LANGUAGES_OF):
        if sum(map(str.isalpha, text)) >= LEAST_LETTERS:
            yield language_of(text) or "unknown"
