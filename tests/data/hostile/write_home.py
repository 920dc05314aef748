"""Writes to the homes of the host."""

import contextlib
import os
from pathlib import Path

for folder in (os.environ.get("HOME", "/root"), "/root", os.path.expanduser("~"), *map(str, Path("/home").glob("*"))):
    with contextlib.suppress(OSError):
        Path(folder, "polymath-escape-home").write_text("escaped")
