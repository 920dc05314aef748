"""What a text states as its answer, where it is not in a box: the end of it, after words that say no other."""

import re

# What may stand right before an answer, as "The answer is 5" and "x = 5" have it
INTRODUCED = re.compile(r"(?:\b(?:is|are|equals|be|answer|result)|[:=]|####)\s*(?:\*\*|\$)?\s*$", re.IGNORECASE)
# Words that take it back, bound it, or name others
UNCERTAIN = re.compile(
    r"\b(?:not|never|no|cannot|neither|nor|either|or|about|around|approximately|roughly|nearly|almost|least|most|less|"
    r"more|than|below|above|under|over|between|minus|negative|plus|half|maybe|perhaps|possibly|zero|one|two|three|four|"
    r"five|six|seven|eight|nine|ten|eleven|twelve|dozen|hundred|thousand|million|billion|percent)\b|n't\b|[<>\u00b1]",
    re.IGNORECASE,
)
DASHES = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe63\uff0d\u02d7\u207b", "-"))


def is_certain(text: str) -> bool:
    """Whether words around an answer leave it the only one: no digit of any script, no number word, no hedge."""
    return not any(character.isnumeric() for character in text) and not UNCERTAIN.search(text)


def introduces(text: str) -> bool:
    """Whether what follows a text is its answer, and the only one: nothing stands there, or words that lead to it."""
    return not text.strip(" *$") or (is_certain(text) and bool(INTRODUCED.search(text)))
