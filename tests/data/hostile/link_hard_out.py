"""Hard links to files of the host, to be changed or kept."""

import contextlib
import os

for number, file in enumerate(("/etc/passwd", "/etc/shadow", "/bin/sh", "/proc/self/exe")):
    with contextlib.suppress(OSError):
        os.link(file, f"hard-{number}")
