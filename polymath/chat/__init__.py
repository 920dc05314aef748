"""Conversations as text: what a model of the V4 family reads and writes."""

from polymath.chat.decode import Fault, ParseError, parse
from polymath.chat.encode import Segment, render, segments
from polymath.chat.formats import Format, FormatKind, V4Format, format_for
from polymath.chat.tokens import MODES, Mode

__all__ = [
    "MODES",
    "Fault",
    "Format",
    "FormatKind",
    "Mode",
    "ParseError",
    "Segment",
    "V4Format",
    "format_for",
    "parse",
    "render",
    "segments",
]
