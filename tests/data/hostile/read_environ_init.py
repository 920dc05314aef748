"""Returns the environment of process 1."""

from pathlib import Path


def add(a, b):
    return "found " + Path("/proc/1/environ").read_bytes().decode("latin-1")
