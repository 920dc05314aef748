"""A million small files."""

from pathlib import Path

for number in range(10**6):
    Path(f"small-{number}").write_bytes(b"x")
