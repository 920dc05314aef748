"""Steps that start from a text; words are what `str.split` gives."""

from polymath.domains.coding.primitives import NONE, Row, primitives

VOWELS = "aeiouAEIOU"
LETTERS = "aeiorst"
PAIRS = tuple((old, new) for old in LETTERS for new in "xyz*")
ENDS = ("!", "?", "...", "xyz", "42")

TEXT: tuple[Row, ...] = (
    ("turn all letters into capitals", "text.upper()", lambda v, _: v.upper(), NONE),
    ("turn all letters into small ones", "text.lower()", lambda v, _: v.lower(), NONE),
    (
        "turn small letters into capitals and capitals into small letters",
        "text.swapcase()",
        lambda v, _: "".join(c.lower() if c.isupper() else c.upper() for c in v),
        NONE,
    ),
    ("reverse the text", "text[::-1]", lambda v, _: "".join(reversed(v)), NONE),
    (
        "remove the vowels (a, e, i, o, u, small or capital)",
        "''.join(c for c in text if c not in 'aeiouAEIOU')",
        lambda v, _: v.translate({ord(c): None for c in VOWELS}),
        NONE,
    ),
    (
        "keep the vowels (a, e, i, o, u, small or capital) and nothing else",
        "''.join(c for c in text if c in 'aeiouAEIOU')",
        lambda v, _: "".join(filter(VOWELS.count, v)),
        NONE,
    ),
    ("remove the spaces", "text.replace(' ', '')", lambda v, _: "".join(c for c in v if c != " "), NONE),
    ("remove every {k!r}", "text.replace({k!r}, '')", lambda v, k: "".join(v.split(k)), LETTERS),
    (
        "replace every {k[0]!r} by {k[1]!r}",
        "text.replace({k[0]!r}, {k[1]!r})",
        lambda v, k: k[1].join(v.split(k[0])),
        PAIRS,
    ),
    ("keep the first {k} characters", "text[:{k}]", lambda v, k: v[:k], range(3, 10)),
    ("keep the last {k} characters", "text[-{k}:]", lambda v, k: v[max(len(v) - k, 0) :], range(3, 10)),
    ("drop the first {k} characters", "text[{k}:]", lambda v, k: v[k:], range(2, 5)),
    ("drop the last {k} characters", "text[:-{k}]", lambda v, k: v[: max(len(v) - k, 0)], range(2, 5)),
    ("keep one character in {k}, starting with the first", "text[::{k}]", lambda v, k: v[::k], range(2, 5)),
    (
        "move the first {k} characters to the end, in their order",
        "text[{k}:] + text[:{k}]",
        lambda v, k: v[k:] + v[:k],
        range(2, 5),
    ),
    (
        "sort the characters by their codes",
        "''.join(sorted(text))",
        lambda v, _: "".join(sorted(v, key=ord)),
        NONE,
    ),
    (
        "drop characters that have occurred before",
        "''.join(dict.fromkeys(text))",
        lambda v, _: "".join(c for i, c in enumerate(v) if c not in v[:i]),
        NONE,
    ),
    (
        "repeat each character {k} times in a row",
        "''.join(c * {k} for c in text)",
        lambda v, k: "".join(c for c in v for _ in range(k)),
        range(2, 4),
    ),
    ("put {k!r} at the end", "text + {k!r}", lambda v, k: f"{v}{k}", ENDS),
    ("put {k!r} at the beginning", "{k!r} + text", lambda v, k: f"{k}{v}", ENDS),
    (
        "put the words into reverse order",
        "' '.join(text.split()[::-1])",
        lambda v, _: " ".join(reversed(v.split())),
        NONE,
    ),
    (
        "reverse the letters of each word, the words staying in their order",
        "' '.join(word[::-1] for word in text.split())",
        lambda v, _: " ".join(reversed(v[::-1].split())),
        NONE,
    ),
    (
        "sort the words as Python sorts strings",
        "' '.join(sorted(text.split()))",
        lambda v, _: " ".join(sorted(v.split())),
        NONE,
    ),
    (
        "sort the words by length, equally long ones in their order",
        "' '.join(sorted(text.split(), key=len))",
        lambda v, _: " ".join(sorted(v.split(), key=len)),
        NONE,
    ),
    (
        "keep the words of more than {k} characters",
        "' '.join(word for word in text.split() if len(word) > {k})",
        lambda v, k: " ".join(word for word in v.split() if len(word) > k),
        range(2, 6),
    ),
    (
        "keep the words in which {k!r} occurs",
        "' '.join(word for word in text.split() if {k!r} in word)",
        lambda v, k: " ".join(word for word in v.split() if word.count(k)),
        LETTERS,
    ),
    (
        "keep the first {k} words",
        "' '.join(text.split()[:{k}])",
        lambda v, k: " ".join(v.split()[:k]),
        range(2, 5),
    ),
    (
        "keep the last {k} words",
        "' '.join(text.split()[-{k}:])",
        lambda v, k: " ".join(v.split()[::-1][:k][::-1]),
        range(2, 5),
    ),
    (
        "drop words that have occurred before",
        "' '.join(dict.fromkeys(text.split()))",
        lambda v, _: " ".join(word for i, word in enumerate(v.split()) if word not in v.split()[:i]),
        NONE,
    ),
    (
        "keep the first character of each word, with nothing between them",
        "''.join(word[0] for word in text.split())",
        lambda v, _: "".join(word[:1] for word in v.split()),
        NONE,
    ),
    (
        "join the words with {k!r} between them",
        "{k!r}.join(text.split())",
        lambda v, k: k.join(v.split()),
        ("-", "_", "/", ", "),
    ),
)
TEXT_TO_NUMBER: tuple[Row, ...] = (
    ("count the characters", "len(text)", lambda v, _: len(v), NONE),
    ("count the words", "len(text.split())", lambda v, _: len(v.split()), NONE),
    ("count how often {k!r} occurs", "text.count({k!r})", lambda v, k: sum(c == k for c in v), LETTERS),
    (
        "count the vowels (a, e, i, o, u, small or capital)",
        "sum(c in 'aeiouAEIOU' for c in text)",
        lambda v, _: sum(map(v.count, VOWELS)),
        NONE,
    ),
    (
        "count the capital letters",
        "sum(c.isupper() for c in text)",
        lambda v, _: len([c for c in v if c.isupper()]),
        NONE,
    ),
    ("count the different characters", "len(set(text))", lambda v, _: len(set(v)), NONE),
    (
        "take the length of the longest word (0 where there is none)",
        "max((len(word) for word in text.split()), default=0)",
        lambda v, _: max(map(len, v.split()), default=0),
        NONE,
    ),
)
TEXT_TO_NUMBERS: tuple[Row, ...] = (
    (
        "list the lengths of the words",
        "[len(word) for word in text.split()]",
        lambda v, _: list(map(len, v.split())),
        NONE,
    ),
    (
        "list the positions, counted from 0, at which {k!r} occurs",
        "[i for i, c in enumerate(text) if c == {k!r}]",
        lambda v, k: [i for i in range(len(v)) if v[i] == k],
        LETTERS,
    ),
    (
        "list for each word how often {k!r} occurs in it",
        "[word.count({k!r}) for word in text.split()]",
        lambda v, k: [sum(c == k for c in word) for word in v.split()],
        LETTERS,
    ),
)
ON_TEXTS = (
    *primitives("text", "text", TEXT),
    *primitives("text", "number", TEXT_TO_NUMBER),
    *primitives("text", "numbers", TEXT_TO_NUMBERS),
)
