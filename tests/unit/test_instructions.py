"""Instructions that a program can check: by hand, on demonstrations and broken ones, against lm-eval, and in time."""

import json
import random
import re
import sys
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from polymath.domains.instruct import IDS, InstructDomain
from rewards import languages
from rewards.instructions import INSTRUCTIONS, check, follows, loose, strict

for module in ("langdetect", "nltk", "punkt"):
    pytest.importorskip(module)

ENGLISH = "This is a plain English sentence, and it was written for nobody in particular."
Arguments = dict[str, Any]


def limit(text: str, arguments: Arguments, number: str, relation: str, more: str, fewer: str) -> str:
    """The text with too much of something, or without it."""
    return fewer if arguments[relation] == "at least" else text + more * arguments[number]


BREAK: dict[str, Callable[[str, Arguments], str]] = {
    "keywords:existence": lambda text, a: re.sub(a["keywords"][0], "", text, flags=re.IGNORECASE),
    "keywords:frequency": lambda text, a: limit(
        text, a, "frequency", "relation", f" {a['keyword']}", re.sub(a["keyword"], "", text, flags=re.IGNORECASE)
    ),
    "keywords:forbidden_words": lambda text, a: f"{text} {a['forbidden_words'][-1].upper()}!",
    "keywords:letter_frequency": lambda text, a: limit(
        text, a, "let_frequency", "let_relation", a["letter"], re.sub(a["letter"], "", text, flags=re.IGNORECASE)
    ),
    "language:response_language": lambda text, a: ENGLISH,
    "length_constraints:number_sentences": lambda text, a: limit(
        text, a, "num_sentences", "relation", " It is so.", "It is so."
    ),
    "length_constraints:number_paragraphs": lambda text, a: f"{text}\n***\nMore.",
    "length_constraints:number_words": lambda text, a: limit(text, a, "num_words", "relation", " word", "word"),
    "length_constraints:nth_paragraph_first_word": lambda text, a: re.sub(
        rf"(?i)\b{a['first_word']}\b", "Zebras", text
    ),
    "detectable_content:number_placeholders": lambda text, a: text.replace("[", "("),
    "detectable_content:postscript": lambda text, a: re.sub(r"(?i)\bs\b", "", re.sub(r"(?i)\bp\.", "", text)),
    "detectable_format:number_bullet_lists": lambda text, a: f"{text}\n  - more",
    "detectable_format:constrained_response": lambda text, a: text.replace("My", "Our"),
    "detectable_format:number_highlighted_sections": lambda text, a: text.replace("*", ""),
    "detectable_format:multiple_sections": lambda text, a: re.sub(r"\d", "", text),
    "detectable_format:json_format": lambda text, a: f"Here: {text}",
    "detectable_format:title": lambda text, a: text.replace(">>", ">"),
    "combination:two_responses": lambda text, a: f"{text}\n******\nA third one.",
    "combination:repeat_prompt": lambda text, a: f"Sure. {text}",
    "startend:end_checker": lambda text, a: f"{text} Bye",
    "startend:quotation": lambda text, a: text[1:],
    "change_case:capital_word_frequency": lambda text, a: limit(
        text, a, "capital_frequency", "capital_relation", " WORD", text.lower()
    ),
    "change_case:english_capital": lambda text, a: f"{text} ok",
    "change_case:english_lowercase": lambda text, a: f"{text} OK",
    "punctuation:no_comma": lambda text, a: f"{text},",
}


@pytest.fixture(scope="module")
def gold() -> list[tuple[str, Arguments, str]]:
    """Id, arguments and demonstration, of all types."""
    rng, domain, cases = random.Random(0), InstructDomain(max_instructions=3), []
    for _ in range(400):
        task = domain.draw(rng)
        for one in json.loads(task.answer)["instructions"]:
            cases.append((one["id"], one["arguments"], task.demonstration[-1]["content"]))
    return cases


def test_demonstrations_follow_and_broken_ones_do_not(gold: list[tuple[str, Arguments, str]]) -> None:
    assert {one for one, _, _ in gold} == {*INSTRUCTIONS} == {*BREAK} == {*IDS}
    assert len(gold) > 600
    for one, arguments, text in gold:
        assert follows(one, arguments, text, "")
        assert not follows(one, arguments, BREAK[one](text, arguments), ""), (one, arguments)
        assert not follows(one, arguments, " \n", "")


@pytest.mark.parametrize(
    ("one", "arguments", "right", "wrong"),
    [
        ("keywords:existence", {"keywords": ["art", "b.d"]}, ["ART bed", "party bad"], ["art", "bed"]),
        ("keywords:forbidden_words", {"forbidden_words": ["art"]}, ["party", "art_"], ["Art!", "art-work"]),
        ("keywords:letter_frequency", {"letter": "E", "let_frequency": 2, "let_relation": "less than"}, ["e"], ["eE"]),
        ("language:response_language", {"language": "fi"}, ["123 !", "http://a.b"], [ENGLISH]),
        ("change_case:english_capital", {}, [ENGLISH.upper()], [ENGLISH, "123", "DAS IST EIN HAUS"]),
        ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "at least"}, ["Wow!!! No. No."], ["Dr. A"]),
        ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, ["a***b", "***a***b***"], ["a\n\nb", "a******b"]),
        ("length_constraints:number_words", {"num_words": 2, "relation": "at least"}, ["a-b", "it's"], ["a_b"]),
        (
            "length_constraints:nth_paragraph_first_word",
            {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Yes"},
            ["a\n\nyes, b", "a\n\n'\"YES\"", "a\n\nyes\n\n"],
            ["a\n\n(yes", "a\n\n\n\nyes", "a\nyes", "a\n\nyes\n\nb"],
        ),
        ("detectable_content:number_placeholders", {"num_placeholders": 2}, ["[a][]", "[[a]b][c]"], ["[[a]]", "[\n] []"]),
        ("detectable_content:postscript", {"postscript_marker": "P.S."}, ["p. s. x", "ap.s.b"], ["ps.", "P.S"]),
        ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, ["x P. P. Sx"], ["P.S.", "PPS"]),
        ("detectable_format:number_bullet_lists", {"num_bullets": 2}, ["* a\n - b", "*\n- a"], ["** a\n* b", "*\n* a"]),
        ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, ["*a* *b*", "**a**\n*b*"], ["*a*b*", "**a**", "** **"]),
        ("detectable_format:multiple_sections", {"section_spliter": "Part", "num_sections": 1}, ["xPart1"], ["part 1", "Part I"]),
        ("detectable_format:json_format", {}, ["3", "```json\n{}\n```", "NaN"], ["{'a': 1}", "[" * 20_000, "9" * 5000]),
        ("detectable_format:title", {}, ["<<a>>", "<< <a>>>"], ["<<>>", "<< >>", "<a>", "<<a\n>>", "<<<>>"]),
        ("combination:two_responses", {}, ["a******b", "******a******b"], ["a******a ", "a******\n******b", "a"]),
        ("startend:end_checker", {"end_phrase": " The End "}, ['"So the end"'], ["the end."]),
        ("startend:quotation", {}, ['""', ' "a" '], ['"', "'a'"]),
        (
            "change_case:capital_word_frequency",
            {"capital_frequency": 2, "capital_relation": "at least"},
            ["I AM", "DON'T", "CANNOT", "A-B (C)"],
            ["A-B", "Am", "X1y"],
        ),
    ],
)  # fmt: skip
def test_odd_corners(one: str, arguments: Arguments, right: list[str], wrong: list[str]) -> None:
    assert [text for text in right if not follows(one, arguments, text, "")] == []
    assert [text for text in wrong if follows(one, arguments, text, "")] == []


def test_loose_forgives_a_preamble_a_farewell_and_stars() -> None:
    quoted = [{"id": "startend:quotation", "arguments": {}}, {"id": "punctuation:no_comma", "arguments": {}}]
    for text in (
        'Sure, here it is:\n"a"',
        '"a"\nBye, now!',
        'Well,\n"a"\nBye, now!',
        'Well,\n*"a"*\nBye,',
        '"a"\n"b",',
    ):
        assert strict(quoted, text, "") == [False, False]
        assert loose(quoted, text, "") == [True, True]
    assert loose(quoted, 'a,\n"b,c"\n,', "") == [True, False]
    assert strict(quoted, "", "") == loose(quoted, "\n*", "")[:1] * 2 == [False, False]


@pytest.mark.parametrize(
    ("one", "arguments", "message"),
    [
        ("keywords:existense", {}, "did you mean 'keywords:existence'"),
        ("keywords:frequency", {"keyword": "a", "frequncy": 2, "relation": "at least"}, "did you mean 'frequency'"),
        ("punctuation:no_comma", {"keyword": "a"}, "no argument 'keyword'; known are none"),
        ("keywords:frequency", {"keyword": "a", "frequency": 0, "relation": "at least"}, "needs the argument 'frequency'"),
        ("keywords:existence", {"keywords": []}, "needs the argument 'keywords'"),
        ("keywords:existence", {"keywords": "art"}, "must be a list of texts"),
        ("keywords:existence", {"keywords": ["art", "("]}, "regular expressions"),
        ("keywords:forbidden_words", {"forbidden_words": ["(?i)a"]}, "regular expressions"),
        ("keywords:letter_frequency", {"letter": "!", "let_frequency": 1, "let_relation": "at least"}, "one letter"),
        ("length_constraints:number_words", {"num_words": 5, "relation": "at most"}, "must be 'less than' or 'at least'"),
        ("length_constraints:number_words", {"num_words": "5", "relation": "at least"}, "a whole number from 1, not '5'"),
        ("length_constraints:number_words", {"num_words": True, "relation": "at least"}, "a whole number from 1"),
        ("length_constraints:number_words", {"num_words": -1, "relation": "at least"}, "a whole number from 1"),
        ("language:response_language", {"language": "English"}, "must be one of ar, bg"),
        ("combination:repeat_prompt", {}, "needs the argument 'prompt_to_repeat'"),
        (
            "length_constraints:nth_paragraph_first_word",
            {"num_paragraphs": 2, "nth_paragraph": 3, "first_word": "a"},
            "must not be above num_paragraphs",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_checked_is_refused(one: str, arguments: Arguments, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        check(one, arguments)
    with pytest.raises(ValueError, match=re.escape(message)):
        follows(one, arguments, "a", "")


def test_arguments_of_other_types_may_stand_there_as_none() -> None:
    check("keywords:existence", {"keywords": ["a"], "relation": None, "num_words": None})


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langdetect.detector_factory", None)
    languages._detectors.cache_clear()
    with pytest.raises(ImportError, match=re.escape("pip install 'polymath[instruct]'")):
        follows("language:response_language", {"language": "de"}, "a", "")


# What tells the types apart: the more of each, the later a check can stop
SAMPLE: dict[str, Arguments] = {
    **{one: {} for one, instruction in INSTRUCTIONS.items() if not instruction.arguments},
    "keywords:existence": {"keywords": ["word", "hello"]},
    "keywords:frequency": {"keyword": "word", "frequency": 40, "relation": "at least"},
    "keywords:forbidden_words": {"forbidden_words": ["word", "hello"]},
    "keywords:letter_frequency": {"letter": "a", "let_frequency": 3, "let_relation": "less than"},
    "language:response_language": {"language": "de"},
    "length_constraints:number_sentences": {"num_sentences": 10**6, "relation": "less than"},
    "length_constraints:number_paragraphs": {"num_paragraphs": 2},
    "length_constraints:number_words": {"num_words": 5, "relation": "less than"},
    "length_constraints:nth_paragraph_first_word": {"num_paragraphs": 2, "nth_paragraph": 1, "first_word": "word"},
    "detectable_content:number_placeholders": {"num_placeholders": 2},
    "detectable_content:postscript": {"postscript_marker": "P.P.S"},
    "detectable_format:number_bullet_lists": {"num_bullets": 2},
    "detectable_format:number_highlighted_sections": {"num_highlights": 2},
    "detectable_format:multiple_sections": {"section_spliter": "Section", "num_sections": 2},
    "combination:repeat_prompt": {"prompt_to_repeat": "word"},
    "startend:end_checker": {"end_phrase": "word"},
    "change_case:capital_word_frequency": {"capital_frequency": 2, "capital_relation": "at least"},
}  # fmt: skip
HOSTILE = [
    *("*", "[", "\n", " ", "a", "A", "<", "-", '"', ".", "!", "1", "\u00e9"),
    *("*[", "*\n", "* ", "[\n", "[ ", "\n ", "*[\n ", "[*\n", "<< ", "- *", "P.", "Section "),
]


@pytest.mark.parametrize("unit", HOSTILE, ids=repr)
def test_hostile_responses_are_judged_in_time(unit: str) -> None:
    response = (unit * 100_000)[:100_000]
    for one, arguments in SAMPLE.items():
        follows(one, arguments, "word", "")  # what a checker loads, it loads here
        begin = time.process_time()
        follows(one, arguments, response, "")
        assert time.process_time() - begin < 1, one


PIECES = (
    *("*", "**", "***", "******", "\n", "\n\n", " ", "\t", "[", "]", "[a]", "<<", ">>", "<<a>>", "- ", "\n* ", "\n- "),
    *(
        '"',
        "'",
        ",",
        ".",
        "!",
        "? ",
        "...",
        ". . ",
        "word",
        "Word ",
        "WORD",
        "hello ",
        "SECTION 1",
        "Section 2",
        "P.S. ",
    ),
    *(
        "p. p. s",
        "My answer is no.",
        "{}",
        "```json",
        "```",
        "1",
        "[1, 2]",
        "\r",
        "\x0b",
        "\x85",
        "\u2028",
        "\u00a0",
        "_",
    ),
    *("I ", "A", "Dr. ", "U.S. ", "The cat sat. ", "DON'T ", "CANNOT ", "\u201cX\u201d", "\u03a3", "i\u0307", "\u212a"),
    *("Das ist ein Haus und ein Garten. ", "C'est la vie et je suis content. ", ENGLISH, "\u4f60\u597d", "\u01c5"),
)


def written(rng: random.Random) -> str:
    """A response of a few pieces, many times, in any case."""
    pieces = rng.sample(PIECES, rng.randint(1, 6))
    text = "".join(rng.choices(pieces, k=rng.choice((1, 2, 3, 5, 9, 20))))
    return rng.choice((str, str, str, str.upper, str.lower, '"{}"'.format))(text)


@pytest.fixture(scope="module")
def reference() -> Iterator[Any]:
    """lm-eval's module of verdicts, its detector seeded, with Punkt's English model from where ours is.

    The packages above it import what the verdicts do not need; they are stood in for by empty ones.
    """
    lm_eval = pytest.importorskip("lm_eval")
    pytest.importorskip("immutabledict")
    import langdetect
    import nltk
    import punkt
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

    model, parameters = punkt.load_model("english"), PunktParameters()
    for name in ("abbrev_types", "collocations", "sent_starters", "ortho_context"):
        getattr(parameters, name).update(getattr(model, name))
    tokenizer, before = PunktSentenceTokenizer(parameters), set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("lm_eval.tasks", "lm_eval.tasks.ifeval"):
            package = types.ModuleType(name)
            package.__path__ = [f"{lm_eval.__path__[0]}{name.removeprefix('lm_eval').replace('.', '/')}"]
            patch.setitem(sys.modules, name, package)
        patch.setattr(nltk.data, "find", lambda *_, **__: None)
        patch.setattr(nltk.data, "load", lambda *_, **__: tokenizer)
        patch.setattr(nltk.tokenize, "_get_punkt_tokenizer", lambda *_: tokenizer)
        patch.setattr(langdetect.DetectorFactory, "seed", 0)
        import lm_eval.tasks.ifeval.utils as utils  # pyright: ignore[reportMissingImports]

        yield utils
    for name in set(sys.modules) - before:
        if name.startswith("lm_eval.tasks"):
            del sys.modules[name]


def verdicts(reference: Any, one: str, arguments: Arguments, response: str) -> list[bool]:
    """Strict and loose, the reference's."""
    example = reference.InputExample(0, [one], "prompt", [arguments])
    tests = (reference.test_instruction_following_strict, reference.test_instruction_following_loose)
    return [test(example, response).follow_instruction_list[0] for test in tests]


def ours(one: str, arguments: Arguments, response: str) -> list[bool]:
    listed = [{"id": one, "arguments": arguments}]
    return strict(listed, response, "prompt") + loose(listed, response, "prompt")


def test_the_reference_has_the_same_instructions_and_arguments(reference: Any) -> None:
    registry = sys.modules["lm_eval.tasks.ifeval.instructions_registry"].INSTRUCTION_DICT
    taken = {one: registry[one](one).get_instruction_args_keys() for one in registry}
    assert {one: list(instruction.arguments) for one, instruction in INSTRUCTIONS.items()} == taken


def test_the_reference_judges_demonstrations_and_broken_ones_alike(
    reference: Any, gold: list[tuple[str, Arguments, str]]
) -> None:
    for one, arguments, text in gold[:300]:
        for response in (text, BREAK[one](text, arguments), f"Sure:\n{text}\nBye.", text.replace(" ", "\n", 3)):
            assert ours(one, arguments, response) == verdicts(reference, one, arguments, response), (one, response)


def test_the_reference_judges_random_and_hostile_responses_alike(reference: Any) -> None:
    rng = random.Random(0)
    responses = [written(rng) for _ in range(60)] + [(unit * 400)[:400] for unit in HOSTILE]
    for response in responses:
        for one, arguments in SAMPLE.items():
            few = {name: min(value, 3) if type(value) is int else value for name, value in arguments.items()}
            assert ours(one, few, response) == verdicts(reference, one, few, response), (one, few, response)
