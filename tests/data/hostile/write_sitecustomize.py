"""Poisons the start of the next interpreter."""

import contextlib
import site
import sys
from pathlib import Path

for folder in (".", *sys.path, *site.getsitepackages(), site.getusersitepackages(), sys.prefix):
    for name in ("sitecustomize.py", "usercustomize.py", "json.py", "polymath-escape.pth"):
        with contextlib.suppress(OSError):
            Path(folder).mkdir(parents=True, exist_ok=True)
            with Path(folder, name).open("a") as file:
                file.write("import sys; sys.polymath_escape = True\n")
