"""How a completion is written: its format, its language, its repetitions."""

import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Literal

from pydantic import Field, PositiveInt

from polymath.completion import Completion
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
UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI")  # a letter counts as a word
ENOUGH = 40  # letters of a line from which its language can be told
LOOKED_AT, LIKELY = 2000, 0.3  # characters of a line, and the probability at which it counts


class FormatReward(RewardConfig):
    """1.0 where every turn can be read and reasons if its mode does, else 0.0 with what is wrong."""

    name: Literal["format"] = "format"

    def __call__(self, completions: Sequence[Completion], bench: Workbench) -> list[Score | None]:
        return [Score(float(c.keeps_format()), faults=c.faults) for c in completions]


class Language(RewardConfig):
    """The share of words in one language (R1 report, section 2.3.2), in reasoning and answer; None without words.

    By script, word by word, and for languages that share a script by langdetect, line by line: a short line counts by
    its script alone. Fenced code has no language.
    """

    name: Literal["language"] = "language"
    language: str = Field(default="en", pattern="^[a-z]{2}$", description="ISO 639-1 code.")

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
    """The share of n-grams of words, compared without case, that are not new; 0 where there are none."""
    words = text.lower().split()
    total = len(words) - n + 1
    if total <= 0:
        return 0.0
    return 1 - len({tuple(words[start : start + n]) for start in range(total)}) / total


def language_share(text: str, language: str) -> float | None:
    """The share of words in a language, given by its ISO 639-1 code; None for a text without words."""
    scripts = SCRIPTS.get(language, ("LATIN",))
    total = own = 0
    for line in _prose(text):
        words = list(_words(line))
        total += len(words)
        if words and _speaks(line, language):
            own += sum(script in scripts for script in words)
    return own / total if total else None


def _prose(text: str) -> Iterator[str]:
    """The lines outside of fenced code."""
    fenced = False
    for line in text.split("\n"):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield line


def _words(line: str) -> Iterator[str]:
    """The script of each word of a line, by the first of its letters; numbers and signs are no words."""
    for word in line.split():
        letters = [_script(character) for character in word if character.isalpha()]
        if letters and letters[0] in UNSPACED:
            yield from letters
        elif letters:
            yield letters[0]


@cache
def _script(letter: str) -> str:
    return unicodedata.name(letter, "UNKNOWN").partition(" ")[0]


def _speaks(line: str, language: str) -> bool:
    """Whether a line may be in a language: where it is long enough to tell, it has to be likely."""
    if sum(character.isalpha() for character in line) < ENOUGH:
        return True
    found = probability(line[:LOOKED_AT], language)
    return found is None or found > LIKELY
