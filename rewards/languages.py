"""In what language a text is, by langdetect, the same text always with the same result."""

from functools import cache
from typing import Any

MISSING = "telling languages apart needs langdetect: pip install 'polymath[instruct]'"
CLEAR = 0.9  # a probability
LEAST_VARIETY = 10  # different runs of three letters: a letter or a word over and over is in no language


def language_of(text: str) -> str | None:
    """The likeliest language as its ISO 639-1 code; None where there is nothing to go by."""
    guesses = _guesses(text)
    return None if guesses is None else next((guess.lang for guess in guesses), "unknown")


def clear_language(text: str) -> str | None:
    """The likeliest language where no other one is likely; None elsewhere, and where a text has no variety."""
    if len({text[place : place + 3] for place in range(len(text) - 2)}) < LEAST_VARIETY:
        return None
    guesses = _guesses(text) or []
    likely = {guess.lang.partition("-")[0] for guess in guesses}
    return guesses[0].lang if len(likely) == 1 and sum(guess.prob for guess in guesses) >= CLEAR else None


def probability(text: str, language: str) -> float | None:
    """How likely a text is in a language, whatever its script or region; None where there is nothing to go by."""
    guesses = _guesses(text)
    return None if guesses is None else sum(own.prob for own in guesses if own.lang.partition("-")[0] == language)


def _guesses(text: str) -> list[Any] | None:
    """Languages with their probabilities, the likeliest first."""
    detectors, error = _detectors()
    detector = detectors.create()
    detector.append(text)
    try:
        return detector.get_probabilities()
    except error:
        return None


@cache
def _detectors() -> tuple[Any, type[Exception]]:
    """A factory of detectors, and what a detector raises for a text without letters.

    The detector's draws begin at one seed, where langdetect lets chance decide. The factory has profiles of its own,
    which are only read, so threads may share it, and langdetect's global one is as it was.
    """
    try:
        from langdetect.detector_factory import PROFILES_DIRECTORY, DetectorFactory
        from langdetect.lang_detect_exception import LangDetectException
    except ImportError as error:
        raise ImportError(MISSING) from error
    factory = DetectorFactory()
    factory.load_profile(PROFILES_DIRECTORY)
    factory.set_seed(0)
    return factory, LangDetectException
