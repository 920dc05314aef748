"""Writes to the folders of the system."""

import contextlib
from pathlib import Path

for folder in ("/", "/etc", "/etc/cron.d", "/usr", "/usr/bin", "/usr/lib", "/usr/local/bin", "/opt", "/srv", "/boot"):
    with contextlib.suppress(OSError):
        Path(folder, "polymath-escape-system").write_text("escaped")
