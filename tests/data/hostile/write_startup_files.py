"""Leaves start-up files of shells and tools."""

import contextlib
import os
from pathlib import Path

for folder in (".", os.path.expanduser("~"), "/root", "/etc/profile.d"):
    for name in (".bashrc", ".profile", ".pythonrc", ".gitconfig", "polymath-escape.sh"):
        with contextlib.suppress(OSError), Path(folder, name).open("a") as file:
            file.write("# polymath-escape\n")
