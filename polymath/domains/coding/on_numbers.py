"""Steps that start from a list of integers or from a number."""

from itertools import accumulate

from polymath.domains.coding.primitives import NONE, Row, primitives

SEPARATORS = ("-", "+", ", ", ":")

NUMBERS: tuple[Row, ...] = (
    (
        "keep the numbers greater than {k}",
        "[n for n in numbers if n > {k}]",
        lambda v, k: [n for n in v if n > k],
        range(-5, 9),
    ),
    (
        "keep the numbers less than {k}",
        "[n for n in numbers if n < {k}]",
        lambda v, k: [n for n in v if n < k],
        range(1, 16),
    ),
    (
        "keep the multiples of {k}",
        "[n for n in numbers if n % {k} == 0]",
        lambda v, k: [n for n in v if not n % k],
        range(2, 6),
    ),
    (
        "drop the multiples of {k}",
        "[n for n in numbers if n % {k} != 0]",
        lambda v, k: [n for n in v if n % k],
        range(2, 8),
    ),
    (
        "drop every number equal to {k}",
        "[n for n in numbers if n != {k}]",
        lambda v, k: [n for n in v if n != k],
        range(-3, 10),
    ),
    (
        "keep the numbers that occur more than once",
        "[n for n in numbers if numbers.count(n) > 1]",
        lambda v, _: [n for n in v if v.count(n) > 1],
        NONE,
    ),
    ("add {k} to each number", "[n + {k} for n in numbers]", lambda v, k: [n + k for n in v], range(1, 10)),
    ("subtract {k} from each number", "[n - {k} for n in numbers]", lambda v, k: [n - k for n in v], range(1, 10)),
    ("subtract each number from {k}", "[{k} - n for n in numbers]", lambda v, k: [k - n for n in v], range(1, 10)),
    ("multiply each number by {k}", "[n * {k} for n in numbers]", lambda v, k: [n * k for n in v], range(2, 10)),
    (
        "divide each number by {k}, rounding down",
        "[n // {k} for n in numbers]",
        lambda v, k: [n // k for n in v],
        range(2, 6),
    ),
    (
        "replace each number by its remainder modulo {k} (never negative)",
        "[n % {k} for n in numbers]",
        lambda v, k: [n % k for n in v],
        range(3, 10),
    ),
    ("negate each number", "[-n for n in numbers]", lambda v, _: [-n for n in v], NONE),
    ("square each number", "[n * n for n in numbers]", lambda v, _: [n**2 for n in v], NONE),
    ("replace each number by its absolute value", "[abs(n) for n in numbers]", lambda v, _: list(map(abs, v)), NONE),
    (
        "replace each number above {k} by {k}",
        "[min(n, {k}) for n in numbers]",
        lambda v, k: [min(n, k) for n in v],
        range(2, 13),
    ),
    (
        "replace each number below {k} by {k}",
        "[max(n, {k}) for n in numbers]",
        lambda v, k: [max(n, k) for n in v],
        range(-4, 8),
    ),
    (
        "multiply each number by its position, counted from 1",
        "[i * n for i, n in enumerate(numbers, 1)]",
        lambda v, _: [(i + 1) * v[i] for i in range(len(v))],
        NONE,
    ),
    ("sort the numbers in ascending order", "sorted(numbers)", lambda v, _: sorted(v), NONE),
    ("sort the numbers in descending order", "sorted(numbers, reverse=True)", lambda v, _: sorted(v)[::-1], NONE),
    (
        "sort the numbers by absolute value, equal ones in their order",
        "sorted(numbers, key=abs)",
        lambda v, _: sorted(v, key=abs),
        NONE,
    ),
    ("reverse the list", "numbers[::-1]", lambda v, _: list(reversed(v)), NONE),
    ("keep the first {k} numbers", "numbers[:{k}]", lambda v, k: v[:k], range(2, 6)),
    ("keep the last {k} numbers", "numbers[-{k}:]", lambda v, k: v[max(len(v) - k, 0) :], range(2, 6)),
    ("drop the first {k} numbers", "numbers[{k}:]", lambda v, k: v[k:], range(2, 5)),
    ("drop the last {k} numbers", "numbers[:-{k}]", lambda v, k: v[: max(len(v) - k, 0)], range(2, 5)),
    ("keep one number in {k}, starting with the first", "numbers[::{k}]", lambda v, k: v[::k], range(2, 4)),
    (
        "move the first {k} numbers to the end, in their order",
        "numbers[{k}:] + numbers[:{k}]",
        lambda v, k: v[k:] + v[:k],
        range(2, 5),
    ),
    (
        "drop numbers that have occurred before",
        "list(dict.fromkeys(numbers))",
        lambda v, _: [n for i, n in enumerate(v) if n not in v[:i]],
        NONE,
    ),
    (
        "repeat each number {k} times in a row",
        "[n for n in numbers for _ in range({k})]",
        lambda v, k: [n for n in v for _ in range(k)],
        range(2, 4),
    ),
    (
        "replace each number by the sum of all numbers up to it and with it",
        "[sum(numbers[: i + 1]) for i in range(len(numbers))]",
        lambda v, _: list(accumulate(v)),
        NONE,
    ),
    (
        "take the differences of neighbours, each number minus the one before it",
        "[b - a for a, b in zip(numbers, numbers[1:])]",
        lambda v, _: [v[i] - v[i - 1] for i in range(1, len(v))],
        NONE,
    ),
    (
        "keep the numbers that are greater than the one directly before them (never the first)",
        "[b for a, b in zip(numbers, numbers[1:]) if b > a]",
        lambda v, _: [v[i] for i in range(1, len(v)) if v[i] > v[i - 1]],
        NONE,
    ),
    ("append the sum of the list to its end", "numbers + [sum(numbers)]", lambda v, _: [*v, sum(v)], NONE),
)
NUMBERS_TO_NUMBER: tuple[Row, ...] = (
    ("take the sum (0 for an empty list)", "sum(numbers)", lambda v, _: sum(v), NONE),
    (
        "take the sum of the squares (0 for an empty list)",
        "sum(n * n for n in numbers)",
        lambda v, _: sum(n**2 for n in v),
        NONE,
    ),
    ("take the largest number (0 for an empty list)", "max(numbers, default=0)", lambda v, _: max(v, default=0), NONE),
    ("take the smallest number (0 for an empty list)", "min(numbers, default=0)", lambda v, _: min(v, default=0), NONE),
    (
        "take the difference of the largest and the smallest number (0 for an empty list)",
        "max(numbers, default=0) - min(numbers, default=0)",
        lambda v, _: sorted(v)[-1] - sorted(v)[0] if v else 0,
        NONE,
    ),
    ("count the numbers", "len(numbers)", lambda v, _: len(v), NONE),
    ("count the different numbers", "len(set(numbers))", lambda v, _: len(set(v)), NONE),
    (
        "count the numbers greater than {k}",
        "sum(n > {k} for n in numbers)",
        lambda v, k: len([n for n in v if n > k]),
        range(-3, 9),
    ),
    (
        "count the multiples of {k}",
        "sum(n % {k} == 0 for n in numbers)",
        lambda v, k: len([n for n in v if not n % k]),
        range(2, 5),
    ),
    (
        "subtract the sum of every second number from the sum of the others, of which the first number is one",
        "sum(numbers[::2]) - sum(numbers[1::2])",
        lambda v, _: sum(n if i % 2 == 0 else -n for i, n in enumerate(v)),
        NONE,
    ),
)
NUMBER: tuple[Row, ...] = (
    ("add {k} to the result", "number + {k}", lambda v, k: v + k, range(1, 10)),
    ("multiply the result by {k}", "number * {k}", lambda v, k: v * k, range(2, 10)),
    ("subtract the result from {k}", "{k} - number", lambda v, k: k - v, range(1, 21)),
    ("square the result", "number * number", lambda v, _: v**2, NONE),
    ("take the result modulo {k} (never negative)", "number % {k}", lambda v, k: v % k, range(3, 10)),
)
NUMBER_TO_NUMBERS: tuple[Row, ...] = (
    (
        "list the decimal digits of the result from left to right, without its sign",
        "[int(digit) for digit in str(abs(number))]",
        lambda v, _: list(map(int, str(abs(v)))),
        NONE,
    ),
)
NUMBERS_TO_TEXT: tuple[Row, ...] = (
    (
        "join the numbers to a text with {k!r} between them",
        "{k!r}.join(map(str, numbers))",
        lambda v, k: k.join(map(str, v)),
        SEPARATORS,
    ),
)

ON_NUMBERS = (
    *primitives("numbers", "numbers", NUMBERS),
    *primitives("numbers", "number", NUMBERS_TO_NUMBER),
    *primitives("numbers", "text", NUMBERS_TO_TEXT),
    *primitives("number", "number", NUMBER),
    *primitives("number", "numbers", NUMBER_TO_NUMBERS),
)
