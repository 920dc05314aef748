"""Writes above its folder."""

import contextlib
from pathlib import Path

for depth in range(1, 10):
    with contextlib.suppress(OSError):
        Path("../" * depth, "polymath-escape-above").write_text("escaped")
