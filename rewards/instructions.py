"""Whether a response follows instructions that a program can check: the 25 types of IFEval, strict and loose.

An instruction is an id of the data set (`"keywords:existence"`) and its arguments. Differences to the reference are
refusals: where an argument is missing, zero, or of no use, the reference draws one by chance, and here it is an error.
"""

import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from polymath.source import nearest
from rewards import instruction_checks as checks

RELATIONS = ("less than", "at least")
LANGUAGES = (
    *("ar", "bg", "bn", "de", "en", "es", "fa", "fi", "fr", "gu", "he", "hi", "it", "ja", "kn"),
    *("ko", "ml", "mr", "ne", "pa", "pl", "pt", "ru", "sw", "ta", "te", "th", "uk", "ur", "vi"),
)


@dataclass(frozen=True)
class Kind:
    """What an argument has to be, in words and as a test."""

    wanted: str
    fits: Callable[[Any], bool]


@dataclass(frozen=True)
class Instruction:
    """The function that judges, and the arguments that it takes, all of them required."""

    follows: Callable[..., bool]
    arguments: Mapping[str, Kind] = field(default_factory=dict)


def _is_pattern(make: Callable[[str], re.Pattern[str]]) -> Callable[[Any], bool]:
    def fits(value: Any) -> bool:
        if not isinstance(value, str):
            return False
        try:
            make(value)
        except (re.error, OverflowError, RecursionError):
            return False
        return True

    return fits


def _pattern(make: Callable[[str], re.Pattern[str]]) -> Kind:
    return Kind("text that is a regular expression", _is_pattern(make))


def _patterns(make: Callable[[str], re.Pattern[str]]) -> Kind:
    fits = _is_pattern(make)
    return Kind(
        "a list of texts that are regular expressions",
        lambda value: isinstance(value, list | tuple) and all(map(fits, value)),
    )


COUNT = Kind("a whole number from 1", lambda value: type(value) is int and value > 0)
TEXT = Kind("text", lambda value: isinstance(value, str))
LETTER = Kind(
    "one letter from a to z", lambda value: isinstance(value, str) and value.lower() in {*string.ascii_lowercase}
)
RELATION = Kind(" or ".join(map(repr, RELATIONS)), lambda value: value in RELATIONS)
LANGUAGE = Kind(f"one of {', '.join(LANGUAGES)}", lambda value: value in LANGUAGES)
MARKER = _pattern(checks.postscript_pattern)
SPLITER = _pattern(checks.section_pattern)
KEYWORD = _pattern(checks.keyword_pattern)
KEYWORDS = _patterns(checks.keyword_pattern)
FORBIDDEN = _patterns(checks.word_pattern)

INSTRUCTIONS: dict[str, Instruction] = {
    "keywords:existence": Instruction(checks.existence, {"keywords": KEYWORDS}),
    "keywords:frequency": Instruction(checks.frequency, {"keyword": KEYWORD, "frequency": COUNT, "relation": RELATION}),
    "keywords:forbidden_words": Instruction(checks.forbidden_words, {"forbidden_words": FORBIDDEN}),
    "keywords:letter_frequency": Instruction(
        checks.letter_frequency, {"letter": LETTER, "let_frequency": COUNT, "let_relation": RELATION}
    ),
    "language:response_language": Instruction(checks.response_language, {"language": LANGUAGE}),
    "length_constraints:number_sentences": Instruction(
        checks.number_sentences, {"num_sentences": COUNT, "relation": RELATION}
    ),
    "length_constraints:number_paragraphs": Instruction(checks.number_paragraphs, {"num_paragraphs": COUNT}),
    "length_constraints:number_words": Instruction(checks.number_words, {"num_words": COUNT, "relation": RELATION}),
    "length_constraints:nth_paragraph_first_word": Instruction(
        checks.nth_paragraph_first_word, {"num_paragraphs": COUNT, "nth_paragraph": COUNT, "first_word": TEXT}
    ),
    "detectable_content:number_placeholders": Instruction(checks.number_placeholders, {"num_placeholders": COUNT}),
    "detectable_content:postscript": Instruction(checks.postscript, {"postscript_marker": MARKER}),
    "detectable_format:number_bullet_lists": Instruction(checks.number_bullet_lists, {"num_bullets": COUNT}),
    "detectable_format:constrained_response": Instruction(checks.constrained_response),
    "detectable_format:number_highlighted_sections": Instruction(
        checks.number_highlighted_sections, {"num_highlights": COUNT}
    ),
    "detectable_format:multiple_sections": Instruction(
        checks.multiple_sections, {"section_spliter": SPLITER, "num_sections": COUNT}
    ),
    "detectable_format:json_format": Instruction(checks.json_format),
    "detectable_format:title": Instruction(checks.title),
    "combination:two_responses": Instruction(checks.two_responses),
    "combination:repeat_prompt": Instruction(checks.repeat_prompt, {"prompt_to_repeat": TEXT}),
    "startend:end_checker": Instruction(checks.end_checker, {"end_phrase": TEXT}),
    "startend:quotation": Instruction(checks.quotation),
    "change_case:capital_word_frequency": Instruction(
        checks.capital_word_frequency, {"capital_frequency": COUNT, "capital_relation": RELATION}
    ),
    "change_case:english_capital": Instruction(checks.english_capital),
    "change_case:english_lowercase": Instruction(checks.english_lowercase),
    "punctuation:no_comma": Instruction(checks.no_comma),
}


def check(instruction: str, arguments: Mapping[str, Any]) -> None:
    """Raises `ValueError` for an unknown id or argument, a missing one, and one of the wrong type.

    What is None, zero or empty counts as not given, as in the data set, whose rows name the arguments of all types.
    """
    _checked(instruction, arguments)


def follows(instruction: str, arguments: Mapping[str, Any], response: str, prompt: str) -> bool:
    """Whether the response as it stands follows one instruction; an empty one follows none. Raises as `check` does."""
    given = _checked(instruction, arguments)
    return bool(response.strip()) and INSTRUCTIONS[instruction].follows(response, prompt, **given)


def strict(instructions: Sequence[Mapping[str, Any]], response: str, prompt: str) -> list[bool]:
    """Which of the instructions, each `{"id", "arguments"}`, the response follows as it stands."""
    return [follows(one["id"], one["arguments"], response, prompt) for one in instructions]


def loose(instructions: Sequence[Mapping[str, Any]], response: str, prompt: str) -> list[bool]:
    """The same where a preamble, a farewell and stars are forgiven: one of eight variants has to follow."""
    variants = _variants(response)
    return [any(follows(one["id"], one["arguments"], text, prompt) for text in variants) for one in instructions]


def _variants(response: str) -> Iterable[str]:
    """The response whole, without its first line, its last, and both; each with and without its stars."""
    lines = response.split("\n")
    cuts = (lines[1:], lines[:-1], lines[1:-1])
    texts = [response, *("\n".join(cut).strip() for cut in cuts)]
    return dict.fromkeys(texts + [text.replace("*", "") for text in texts])


def _checked(instruction: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that are given."""
    if instruction not in INSTRUCTIONS:
        raise ValueError(f"no instruction {instruction!r}{nearest(str(instruction), INSTRUCTIONS)}")
    wanted = INSTRUCTIONS[instruction].arguments
    given = {name: value for name, value in arguments.items() if value}
    for name, value in given.items():
        if name not in wanted:
            raise ValueError(f"instruction {instruction!r} has no argument {name!r}{nearest(name, wanted)}")
        if not wanted[name].fits(value):
            raise ValueError(f"instruction {instruction!r}: {name} must be {wanted[name].wanted}, not {value!r}")
    if lacking := [name for name in wanted if name not in given]:
        raise ValueError(f"instruction {instruction!r} needs the argument {lacking[0]!r}, and not None, 0 or nothing")
    if given.get("nth_paragraph", 0) > given.get("num_paragraphs", 0):
        raise ValueError(f"instruction {instruction!r}: nth_paragraph must not be above num_paragraphs")
    return given
