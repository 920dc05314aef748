"""Makes the compiler eat memory and stack."""


def add(a, b):
    for text in ("(" * 10**6, "-" * 10**7 + "1", "[" + "x," * 10**7 + "]", "x" + ".x" * 10**6):
        try:
            compile(text, "text", "eval")
        except (MemoryError, RecursionError, SyntaxError):
            continue
    return None
