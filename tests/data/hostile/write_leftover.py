"""Leaves files for a later run to find."""

import contextlib
import os
from pathlib import Path

for folder in (os.getcwd(), "/tmp", "/var/tmp", "/dev/shm", os.path.expanduser("~")):
    with contextlib.suppress(OSError):
        Path(folder, "polymath-escape-leftover").write_text("left by an earlier run")
