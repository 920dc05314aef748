"""What stands in people's files: how much, by whom, how long, in which languages, and what should not be there."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import islice, takewhile

from polymath.chat import Segment
from polymath.dataset.functions import faults, misfits, unknown_types, unread
from polymath.dataset.layouts import Conversation
from polymath.dataset.reading import Place, Read
from polymath.domains.dataset import tasks_of

LANGUAGES_OF = 500  # conversations, spread over all of them: telling a language takes milliseconds
# Of a text whose language is told: a shorter one is taken for Dutch or Afrikaans as soon as for English
LEAST_BYTES, MOST_LETTERS = 40, 2000  # of letters in UTF-8, of which a Chinese one has three
UNSURE, SHORT = "unsure", "too short"
# Forms that issuers have published, and what private keys begin with
SECRETS = {
    "private key": r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----",
    "AWS key": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{22,})\b",
    "Slack token": r"\bxox[abprs]-[A-Za-z0-9-]{10,}",
    "API key": r"\bsk-[A-Za-z0-9_-]{20,}",
    "Google key": r"\bAIza[A-Za-z0-9_-]{35}\b",
    "JSON web token": r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
    "Hugging Face token": r"\bhf_[A-Za-z0-9]{30,}\b",
    "GitLab token": r"\bglpat-[A-Za-z0-9_-]{20,}",
    "Stripe key": r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,}",
    "bearer token": r"(?i)\bbearer\s+(?=[\w.~+/-]*\d)[\w.~+/-]{16,}",
    "password in an address": r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{1,64}:[^\s/@]{3,128}@",
    "password": r"(?i)(?:passwor[dt]|passwd|secret|secret_access_key|api_?key|access_?token)\s*[:=]\s*['\"]?"
    r"(?=[^\s'\"<>{}]{0,64}\d)[^\s'\"<>{}]{8,}",
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
    unused: Counter[str] = field(default_factory=Counter)  # columns, and how many rows have them
    lengths: dict[Place, int] = field(default_factory=dict)  # of each conversation, in tokens
    answers: list[int] = field(default_factory=list)  # of each answer, calls and what follows their results together
    prompts: dict[Place, list[int]] = field(default_factory=dict)  # tokens before each answer of a conversation
    duplicates: dict[Place, Place] = field(default_factory=dict)  # and what it repeats
    languages: Counter[str] = field(default_factory=Counter)
    too_short: int = 0  # of those that were looked at, to tell their language
    suspects: dict[str, list[Place]] = field(default_factory=dict)
    misfits: dict[Place, str] = field(default_factory=dict)  # calls that their functions do not take
    not_offered: dict[Place, str] = field(default_factory=dict)  # calls where no function is on offer
    functions: dict[Place, str] = field(default_factory=dict)  # whose schemas are none
    types: dict[str, list[Place]] = field(default_factory=dict)  # that JSON schema does not know
    unread: dict[str, list[Place]] = field(default_factory=dict)  # keywords of schemas that no call is compared with

    def over(self, length: int) -> dict[Place, int]:
        """Conversations that are longer, and by how much they are long."""
        return {place: own for place, own in self.lengths.items() if own > length}

    def unanswered(self, length: int) -> dict[Place, int]:
        """Conversations of whose answers some begin only after so many tokens, and how many do."""
        counts = {place: sum(own >= length for own in prompts) for place, prompts in self.prompts.items()}
        return {place: count for place, count in counts.items() if count}


def inspect(
    found: Read,
    segments: Callable[[Conversation], list[Segment]],
    tokens: Callable[[str], int],
    language_of: Callable[[str], str | None],
) -> Inspection:
    """Look at everything, once.

    `segments` renders a conversation, functions on offer included, `tokens` counts those of a text, `language_of` tells
    a text's language, None where it is unsure.
    """
    out, known = Inspection(bad=found.bad, unused=found.unused), dict[tuple[str, ...], Place]()
    for place, own in found.conversations.items():
        out.rows += 1
        said = tuple(_texts(own))
        out.messages.update(message["role"] for message in own.messages)
        out.having.update(_having(own))
        each = [(segment.generated, tokens(segment.text)) for segment in segments(own)]
        out.lengths[place] = sum(count for _, count in each)
        answers = list(_answers(own, segments, tokens, each))
        out.prompts[place] = [prompt for prompt, _ in answers]
        out.answers += [answer for _, answer in answers]
        if (first := known.setdefault(said, place)) is not place:
            out.duplicates[place] = first
        for kind, pattern in PATTERNS.items():
            if any(pattern.search(text) for text in said):
                out.suspects.setdefault(kind, []).append(place)
        reasons = (out.misfits, misfits(own)), (out.functions, faults(own)), (out.not_offered, _not_offered(own))
        for told, found_here in reasons:
            told.update((place, fault) for fault in islice(found_here, 1))
        for named, known_here in ((out.types, unknown_types(own)), (out.unread, unread(own))):
            for name in known_here:
                named.setdefault(name, []).append(place)
    out.languages.update(_languages(list(found.conversations.values()), language_of))
    out.too_short = out.languages.pop(SHORT, 0)
    return out


def _answers(
    own: Conversation,
    segments: Callable[[Conversation], list[Segment]],
    tokens: Callable[[str], int],
    each: Sequence[tuple[bool, int]],
) -> Iterator[tuple[int, int]]:
    """Tokens of each question with all before it, and of what follows it, as a mode's budget counts them.

    `each` is whether a segment of the whole conversation is generated, and its tokens: all there is to one question.
    """
    if sum(message["role"] == "user" for message in own.messages) == 1:
        before = takewhile(lambda segment: not segment[0], each)
        yield sum(count for _, count in before), sum(count for generated, count in each if generated)
        return
    count_once = cache(tokens)  # each question comes with all before it
    for task in tasks_of(own, ""):
        asked = len(segments(Conversation(task.messages, own.tools)))
        whole = segments(Conversation((*task.messages, *task.demonstration), own.tools))
        answer = sum(count_once(segment.text) for segment in whole[asked:] if segment.generated)
        yield sum(count_once(segment.text) for segment in whole[:asked]), answer


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
    elif any(_not_offered(own)):
        yield "calls of functions that are not on offer"
    for part, name in (("tool_calls", "calls"), ("reasoning", "reasoning")):
        if any(answer[part] for answer in answers):
            yield name
    if sum(message["role"] == "user" for message in own.messages) > 1:
        yield "several questions"


def _not_offered(own: Conversation) -> Iterator[str]:
    """Calls where no function is on offer; where some are, a call of another one is refused."""
    for message in own.messages if not own.tools else ():
        for call in message.get("tool_calls") or ():
            yield f"{call['function']['name']} is called, and no function is on offer"


def _languages(conversations: Sequence[Conversation], language_of: Callable[[str], str | None]) -> Iterator[str]:
    for own in islice(conversations[:: -(-len(conversations) // LANGUAGES_OF) or 1], LANGUAGES_OF):
        said = [str(message["content"])[:MOST_LETTERS] for message in reversed(own.messages) if message["content"]]
        said.append("\n".join(said)[:MOST_LETTERS])  # where none says enough by itself
        text = next((text for text in said if len("".join(filter(str.isalpha, text)).encode()) >= LEAST_BYTES), "")
        yield language_of(text) or UNSURE if text else SHORT
