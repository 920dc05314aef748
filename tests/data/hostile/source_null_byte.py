"""Evaluates source with null bytes and a coding that decodes to other source."""


def add(a, b):
    for text in (b"\0", b"# coding: utf-7\n+AGEAPQA2-", b"\xff\xfe6\0"):
        try:
            exec(compile(text, "text", "exec"))
        except (SyntaxError, ValueError):
            continue
    return None
