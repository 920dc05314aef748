"""Writes a marker to every folder that takes it."""

import contextlib
import os
from pathlib import Path

for folder, _, _ in os.walk("/"):
    with contextlib.suppress(OSError):
        Path(folder, "polymath-escape-everywhere").write_text("escaped")
