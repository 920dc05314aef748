"""Writes to the folders for temporary files."""

import contextlib
from pathlib import Path

for folder in ("/tmp", "/var/tmp", "/dev/shm", "/run", "/run/lock", "/dev/mqueue"):
    with contextlib.suppress(OSError):
        Path(folder, "polymath-escape-tmp").write_text("escaped")
