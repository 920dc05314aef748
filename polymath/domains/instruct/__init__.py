"""Short texts to write under instructions that a program can check: the 25 types of IFEval (arXiv:2311.07911).

The demonstration is written to its instructions in three passes: over its sentences, over their layout, over the whole
text. Limits of length and frequency are drawn last, around what the text has.
"""

import itertools
import json
import random
import re
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from pydantic import Field

from polymath.domains.instruct.texts import (
    ABOUT_WORD,
    ABROAD,
    ACTIVITIES,
    AUDIENCES,
    AVOIDED,
    CLOSINGS,
    ENDINGS,
    FREQUENT,
    GAPS,
    KEYWORDS,
    KINDS,
    LANGUAGES,
    OPENINGS,
    PHRASES,
    POINTS,
    POSTSCRIPTS,
    QUESTIONS,
    REQUESTS,
    SENTENCES,
    SETTINGS,
    TRANSLATED,
)
from polymath.domains.task import Task, question, reply
from polymath.strict import StrictModel

Keywords = Literal["keywords:existence", "keywords:frequency", "keywords:forbidden_words", "keywords:letter_frequency"]
Lengths = Literal["length_constraints:number_sentences", "length_constraints:number_words"]
Paragraphs = Literal["length_constraints:number_paragraphs", "length_constraints:nth_paragraph_first_word"]
Contents = Literal["detectable_content:number_placeholders", "detectable_content:postscript"]
Marks = Literal["detectable_format:number_bullet_lists", "detectable_format:number_highlighted_sections"]
Frames = Literal["detectable_format:constrained_response", "detectable_format:multiple_sections"]
Wraps = Literal["detectable_format:json_format", "detectable_format:title"]
Doubles = Literal["combination:two_responses", "combination:repeat_prompt"]
Cases = Literal["change_case:capital_word_frequency", "change_case:english_capital", "change_case:english_lowercase"]
Others = Literal["language:response_language", "startend:end_checker", "startend:quotation", "punctuation:no_comma"]
Id = Literal[Keywords, Lengths, Paragraphs, Contents, Marks, Frames, Wraps, Doubles, Cases, Others]
IDS: tuple[Id, ...] = get_args(Id)

# By the second half of an id. These go with the named ones alone; of the groups below at most one instruction is given
ONLY_WITH = {
    "constrained_response": "",
    "json_format": "existence forbidden_words",
    "repeat_prompt": "existence forbidden_words title no_comma",
    "two_responses": "existence forbidden_words title no_comma response_language",
    "response_language": "letter_frequency number_sentences number_paragraphs number_words nth_paragraph_first_word "
    "number_highlighted_sections title two_responses quotation no_comma",
}
APART = (
    *("title quotation", "title nth_paragraph_first_word", "multiple_sections english_capital english_lowercase"),
    "capital_word_frequency english_capital english_lowercase",
    "multiple_sections number_paragraphs nth_paragraph_first_word",
)

Arguments = dict[str, Any]
OnText = Callable[[str, "Subject", random.Random], tuple[str, Arguments]]


@dataclass(frozen=True)
class Subject:
    """What is asked for, and what there is to say about it; `topic` is in the language of the text."""

    key: str
    request: str
    topic: str
    language: str
    sentences: tuple[str, ...]


class InstructDomain(StrictModel):
    """A text of some kind on some topic for some audience, and instructions that it has to follow."""

    reward: ClassVar[str] = "instructions"

    kind: Literal["instruct"] = "instruct"
    max_instructions: int = Field(default=2, ge=1, le=3, description="Most instructions of one task.")
    instructions: tuple[Id, ...] = Field(default=IDS, min_length=1, description="Instructions to draw from.")

    def draw(self, rng: random.Random) -> Task:
        """One request with its instructions; what asks for the same text on the same topic shares a key."""
        ids = _choose(self.instructions, rng.randint(1, self.max_instructions), rng)
        names = {one.partition(":")[2]: one for one in ids}
        subject = _foreign(rng) if "response_language" in names else _english(names, rng)
        text, arguments = _write(subject, names, rng)
        shown = {name: {key: _shown(key, value) for key, value in arguments[name].items()} for name in names}
        asked = " ".join(_asked(name, rng).format(**shown[name]) for name in names)
        prompt = subject.request + rng.choice((" ", "\n", "\n\n")) + asked
        tasks = "; ".join(PHRASES[name].split("|")[0].format(**shown[name]) for name in names)
        listed = [{"id": one, "arguments": arguments[name]} for name, one in names.items()]
        return Task(
            key=subject.key,
            messages=question(prompt),
            demonstration=(reply(text, f"What I write has to keep to this: {tasks}."),),
            answer=json.dumps({"prompt": prompt, "instructions": listed}),
        )


def compatible(one: str, other: str) -> bool:
    """Whether two instructions, by the second halves of their ids, can be given together."""
    if one == other or any(one in group.split() and other in group.split() for group in APART):
        return False
    return all(b in ONLY_WITH.get(a, b).split() for a, b in ((one, other), (other, one)))


def _choose(ids: tuple[Id, ...], count: int, rng: random.Random) -> list[Id]:
    chosen: list[Id] = []
    for one in rng.sample(ids, len(ids)):
        if len(chosen) < count and all(compatible(one.partition(":")[2], c.partition(":")[2]) for c in chosen):
            chosen.append(one)
    return sorted(chosen, key=lambda one: one != "combination:repeat_prompt")  # it speaks of what stands before it


def _english(names: Container[str], rng: random.Random) -> Subject:
    topic, audience = (
        f"{rng.choice(ACTIVITIES.split('|'))} {rng.choice(SETTINGS.split('|'))}",
        rng.choice(AUDIENCES.split("|")),
    )
    kind, asks = rng.choice(list(KINDS)), "constrained_response" in names
    words = {"topic": topic, "Topic": topic[0].upper() + topic[1:], "audience": audience, "kind": kind}
    body = [sentence for sentence in SENTENCES if "no_comma" not in names or "," not in sentence]
    closings = rng.sample(CLOSINGS, 3 if "english_capital" in names else 1)  # in capitals, "I" is what shows English
    said = (KINDS[kind], *rng.sample(body, rng.randint(4, 10)), *closings)
    request = rng.choice(QUESTIONS if asks else REQUESTS).format(**words)
    key = f"instruct {'question' if asks else kind} / {topic} / {audience}"
    return Subject(key, request, words["Topic"], "en", tuple(sentence.format(**words) for sentence in said))


def _foreign(rng: random.Random) -> Subject:
    topic, kind, audience = rng.choice(list(TRANSLATED)), rng.choice(list(KINDS)), rng.choice(AUDIENCES.split("|"))
    language, name = rng.choice(list(zip(LANGUAGES, TRANSLATED[topic], strict=True)))
    first, *others = (sentence.format(Topic=name) for sentence in ABROAD[language].split("|"))
    request = rng.choice(REQUESTS).format(topic=topic, kind=kind, audience=audience)
    key = f"instruct {kind} / {topic} / {audience}"
    return Subject(key, request, name, language, (first, *rng.sample(others, len(others))))


def _shown(name: str, value: Any) -> Any:
    """An argument as the prompt writes it."""
    if isinstance(value, list):
        return " and ".join(f'"{word}"' for word in value)
    quoted = name in ("keyword", "letter", "first_word", "end_phrase")
    return LANGUAGES[value] if name == "language" else f'"{value}"' if quoted else value


def _asked(name: str, rng: random.Random) -> str:
    imperative, sentence = PHRASES[name].split("|")
    return rng.choice([sentence, rng.choice(OPENINGS).format(imperative)])


def _write(subject: Subject, names: Iterable[str], rng: random.Random) -> tuple[str, dict[str, Arguments]]:
    """A text that follows the instructions, and the arguments with which it does."""
    arguments: dict[str, Arguments] = {name: {} for name in names}
    sentences = list(subject.sentences)
    for name in filter(arguments.__contains__, ON_SENTENCES):
        arguments[name] |= ON_SENTENCES[name](sentences, rng)
    text, parts = " ".join(sentences), _parts(sentences, rng.randint(2, 4))
    for name in filter(arguments.__contains__, LAYOUTS):
        text, arguments[name] = LAYOUTS[name](parts, rng)
    for name in filter(arguments.__contains__, ON_TEXT):
        text, given = ON_TEXT[name](text, subject, rng)
        arguments[name] |= given
    return text, arguments


def _insert(sentences: list[str], new: list[str], rng: random.Random) -> int:
    """Put sentences anywhere but first; returns how many."""
    for sentence in new:
        sentences.insert(rng.randint(1, len(sentences)), sentence)
    return len(new)


def _mark(sentences: list[str], change: Callable[[str], str], rng: random.Random) -> int:
    """Change the longest word, but never the first, of two to four sentences; returns of how many."""
    count = rng.randint(2, 4)
    for place in rng.sample(range(len(sentences)), count):
        words = sentences[place].split(" ")
        longest = max(range(1, len(words)), key=lambda i: len(words[i]) * words[i].isalpha())
        sentences[place] = " ".join((*words[:longest], change(words[longest]), *words[longest + 1 :]))
    return count


def _keywords(sentences: list[str], rng: random.Random) -> Arguments:
    words = rng.sample(KEYWORDS, rng.randint(2, 3))
    frames = rng.sample(ABOUT_WORD, len(words))
    _insert(sentences, [frame.format(word=word) for frame, word in zip(frames, words, strict=True)], rng)
    return {"keywords": words}


def _placeholders(sentences: list[str], rng: random.Random) -> Arguments:
    return {"num_placeholders": _insert(sentences, rng.sample(GAPS, rng.randint(2, 4)), rng)}


def _frequency(sentences: list[str], rng: random.Random) -> Arguments:
    word, times, relation = rng.choice(FREQUENT), rng.randint(2, 4), rng.choice(("at least", "less than"))
    said = rng.sample(ABOUT_WORD, times if relation == "at least" else times - 1)
    _insert(sentences, [sentence.format(word=word) for sentence in said], rng)
    return {"keyword": word, "frequency": times, "relation": relation}


def _parts(sentences: list[str], count: int) -> list[str]:
    ends = [len(sentences) * part // count for part in range(count + 1)]
    return [" ".join(sentences[begin:end]) for begin, end in itertools.pairwise(ends)]


def _nth_paragraph(parts: list[str], rng: random.Random) -> tuple[str, Arguments]:
    nth = rng.randint(1, len(parts))
    text, first = "\n\n".join(parts), re.split(r"\W", parts[nth - 1], maxsplit=1)[0].lower()
    return text, {"num_paragraphs": len(parts), "nth_paragraph": nth, "first_word": first}


def _sections(parts: list[str], rng: random.Random) -> tuple[str, Arguments]:
    word = rng.choice(("Section", "SECTION", "Part", "Chapter"))
    text = "\n\n".join(f"{word} {number}\n{part}" for number, part in enumerate(parts, 1))
    return text, {"section_spliter": word, "num_sections": len(parts)}


def _bullets(text: str, about: Subject, rng: random.Random) -> tuple[str, Arguments]:
    points = rng.sample(POINTS, rng.randint(2, 5))
    return "\n* ".join((f"{text}\nWhat to remember:", *points)), {"num_bullets": len(points)}


def _postscript(text: str, about: Subject, rng: random.Random) -> tuple[str, Arguments]:
    marker = rng.choice(("P.S.", "P.P.S"))
    return f"{text}\n{marker} {rng.choice(POSTSCRIPTS)}", {"postscript_marker": marker}


def _avoided(text: str, about: Subject, rng: random.Random) -> tuple[str, Arguments]:
    free = sorted(set(AVOIDED) - set(re.findall(r"\w+", text.lower())))
    return text, {"forbidden_words": rng.sample(free, rng.randint(2, 3))}


def _limit(names: str, low: int, high: int, spread: int, rng: random.Random) -> Arguments:
    """A number and a relation that hold for every count from `low` to `high`, as the arguments of two names."""
    at_least, less_than = max(2, low - rng.randint(0, spread)), max(2, high + rng.randint(1, spread))
    values = (at_least, "at least") if low > 1 and rng.random() < 0.5 else (less_than, "less than")
    return dict(zip(names.split(), values, strict=True))


def _letters(text: str, about: Subject, rng: random.Random) -> tuple[str, Arguments]:
    letter = rng.choice("abcdefghijklmnopqrstuvwxyz")
    count = text.lower().count(letter)
    return text, {"letter": letter} | _limit("let_frequency let_relation", count, count, 4, rng)


def _count(names: str, certain: str, possible: str, spread: int) -> OnText:
    """Limits by what is counted for certain and what at most, both patterns."""

    def limit(text: str, about: Subject, rng: random.Random) -> tuple[str, Arguments]:
        low, high = (len(re.findall(pattern, text)) for pattern in (certain, possible))
        return text, _limit(names, low, high, spread, rng)

    return limit


# In the order in which they are taken; a change of case comes after all that adds text, and limits come last
ON_SENTENCES: dict[str, Callable[[list[str], random.Random], Arguments]] = {
    "existence": _keywords,
    "frequency": _frequency,
    "number_placeholders": _placeholders,
    "capital_word_frequency": lambda said, rng: {"capital_frequency": _mark(said, str.upper, rng)},
    "number_highlighted_sections": lambda said, rng: {"num_highlights": _mark(said, "*{}*".format, rng)},
}
LAYOUTS: dict[str, Callable[[list[str], random.Random], tuple[str, Arguments]]] = {
    "constrained_response": lambda parts, rng: (f"My answer is {rng.choice(('yes', 'maybe'))}.", {}),
    "json_format": lambda parts, rng: (json.dumps({"paragraphs": parts}), {}),
    "two_responses": lambda parts, rng: (f"{parts[0]}\n******\n{' '.join(parts[1:])}", {}),
    "number_paragraphs": lambda parts, rng: ("\n\n***\n\n".join(parts), {"num_paragraphs": len(parts)}),
    "nth_paragraph_first_word": _nth_paragraph,
    "multiple_sections": _sections,
}
ON_TEXT: dict[str, OnText] = {
    "response_language": lambda text, about, rng: (text, {"language": about.language}),
    "title": lambda text, about, rng: (f"<<{about.topic}>>\n{text}", {}),
    "number_bullet_lists": _bullets,
    "postscript": _postscript,
    "end_checker": lambda text, about, rng: (f"{text}\n{(phrase := rng.choice(ENDINGS))}", {"end_phrase": phrase}),
    "repeat_prompt": lambda text, about, rng: (f"{about.request}\n\n{text}", {"prompt_to_repeat": about.request}),
    "english_lowercase": lambda text, about, rng: (text.lower(), {}),
    "english_capital": lambda text, about, rng: (text.upper(), {}),
    "quotation": lambda text, about, rng: (f'"{text}"', {}),
    "forbidden_words": _avoided,
    "letter_frequency": _letters,
    "number_words": _count("num_words relation", r"\w+", r"\w+", 20),
    "number_sentences": _count("num_sentences relation", r"[^\W\d_]{3,}[.?!]\s", r"[.?!]|$", 3),
    "capital_word_frequency": _count("capital_frequency capital_relation", r"(?<!\S)[A-Z]{3,}(?!\S)", r"\b[A-Z]+\b", 3),
}
