"""What a command looked at, for people to read."""

from typing import Literal, NamedTuple


class Finding(NamedTuple):
    """What was looked at, what was found, and what to do about it: a note is worth reading, a fault must be mended."""

    what: str
    found: str
    state: Literal["ok", "note", "fault"] = "ok"
    remedy: str = ""
