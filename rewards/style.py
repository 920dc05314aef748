"""How a completion is written: its format, its language, its repetitions."""

import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Literal

from pydantic import Field, PositiveInt, field_validator

from polymath.completion import Completion
from polymath.source import nearest
from rewards.base import RewardConfig, Workbench
from rewards.languages import probability
from rewards.score import Score

# The scripts of languages that are not written in Latin letters, by ISO 639-1 code
SCRIPTS = {
    "ar": ("ARABIC",), "bg": ("CYRILLIC",), "bn": ("BENGALI",), "el": ("GREEK",), "fa": ("ARABIC",),
    "gu": ("GUJARATI",), "he": ("HEBREW",), "hi": ("DEVANAGARI",), "ja": ("CJK", "HIRAGANA", "KATAKANA"),
    "kn": ("KANNADA",), "ko": ("HANGUL",), "mk": ("CYRILLIC",), "ml": ("MALAYALAM",), "mr": ("DEVANAGARI",),
    "ne": ("DEVANAGARI",), "pa": ("GURMUKHI",), "ru": ("CYRILLIC",), "ta": ("TAMIL",), "te": ("TELUGU",),
    "th": ("THAI",), "uk": ("CYRILLIC",), "ur": ("ARABIC",), "zh": ("CJK",),
}  # fmt: skip
LATIN = (
    *("af", "ca", "cs", "cy", "da", "de", "en", "es", "et", "fi", "fr", "hr", "hu", "id", "it", "lt", "lv", "nl", "no"),
    *("pl", "pt", "ro", "sk", "sl", "so", "sq", "sv", "sw", "tl", "tr", "vi"),
)
UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI")  # a letter counts as a word
ENOUGH = 40  # letters of a passage from which its language can be told
LONGEST_WORD = 30  # characters
LOOKED_AT, LIKELY = 2000, 0.3  # characters of a passage, and the probability at which it counts


class FormatReward(RewardConfig):
    """1.0 where every turn can be read and reasons if its mode does, else 0.0 with what is wrong."""

    name: Literal["format"] = "format"

    def __call__(self, completions: Sequence[Completion], bench: Workbench) -> list[Score | None]:
        return [Score(float(c.keeps_format()), faults=c.faults) for c in completions]


class Language(RewardConfig):
    """The share of words in one language (R1 report, section 2.3.2), in reasoning and answer; None without words.

    By script, word by word, and for languages that share a script by langdetect, passage by passage: a short text
    counts by its script alone. Fenced code has no language.
    """

    name: Literal["language"] = "language"
    language: str = Field(default="en", description="ISO 639-1 code.")

    @field_validator("language")
    @classmethod
    def _can_be_told(cls, language: str) -> str:
        if language not in {*SCRIPTS, *LATIN}:
            raise ValueError(f"no language {language!r}{nearest(language, sorted({*SCRIPTS, *LATIN}))}")
        return language

    def __call__(self, completions: Sequence[Completion], bench: Workbench) -> list[Score | None]:
        return [self._one(f"{c.reasoning}\n{c.content}") for c in completions]

    def _one(self, text: str) -> Score | None:
        share = language_share(text, self.language)
        return None if share is None else Score(share)


class Repetition(RewardConfig):
    """`-maximum` times the share of n-grams of words that were there before (arXiv 2502.03373, section 3.3)."""

    name: Literal["repetition"] = "repetition"
    ngram_size: PositiveInt = 3
    maximum: float = Field(default=1.0, ge=0, description="The penalty of a text that only repeats itself.")

    def __call__(self, completions: Sequence[Completion], bench: Workbench) -> list[Score | None]:
        texts = (f"{c.reasoning}\n{c.content}" for c in completions)
        return [Score(-self.maximum * repeated_share(text, self.ngram_size)) for text in texts]


def repeated_share(text: str, n: int) -> float:
    """The share of n-grams of words, compared without case, that are not new; 0 where there are none.

    Where words have no spaces between them, letters count.
    """
    words = [part for word in text.lower().split() for part in ([word] if len(word) <= LONGEST_WORD else word)]
    total = len(words) - n + 1
    if total <= 0:
        return 0.0
    return 1 - len({tuple(words[start : start + n]) for start in range(total)}) / total


def language_share(text: str, language: str) -> float | None:
    """The share of words in a language, given by its ISO 639-1 code; None for a text without words."""
    scripts = SCRIPTS.get(language, ("LATIN",))
    total = own = 0
    for passage in _passages(text):
        words = list(_words(passage))
        total += len(words)
        if words and _speaks(passage, language):
            own += sum(script in scripts for script in words)
    return own / total if total else None


def _prose(text: str) -> Iterator[str]:
    """The lines outside of fenced blocks; a block that is never closed is none."""
    block: list[str] = []
    for line in text.split("\n"):
        if line.lstrip().startswith("```"):
            block = [] if block else [line]
        elif block:
            block.append(line)
        else:
            yield line
    yield from block


def _passages(text: str) -> Iterator[str]:
    """Lines, short ones together with those that follow, so that the language of each can be told."""
    lines: list[str] = []
    letters = 0
    for line in _prose(text):
        lines.append(line)
        letters += sum(character.isalpha() for character in line)
        if letters >= ENOUGH:
            yield "\n".join(lines)
            lines, letters = [], 0
    yield "\n".join(lines)


def _words(passage: str) -> Iterator[str]:
    """The script of each word, by the first of its letters; numbers and signs are no words."""
    for word in passage.split():
        letters = [_script(character) for character in word if character.isalpha()]
        if letters and letters[0] in UNSPACED:
            yield from letters
        elif letters:
            yield letters[0]


@cache
def _script(letter: str) -> str:
    return unicodedata.name(letter, "UNKNOWN").partition(" ")[0]


def _speaks(passage: str, language: str) -> bool:
    """Whether a passage may be in a language: where it is long enough to tell, it has to be likely."""
    if sum(character.isalpha() for character in passage) < ENOUGH:
        return True
    found = probability(passage[:LOOKED_AT], language)
    return found is None or found > LIKELY
