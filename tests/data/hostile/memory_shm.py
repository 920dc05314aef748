"""Fills shared memory with files."""

from pathlib import Path

number = 0
while True:
    number += 1
    Path(f"/dev/shm/polymath-escape-{number}").write_bytes(b"x" * 2**26)
