"""One file that grows for ever."""

from pathlib import Path

with Path("big").open("wb") as file:
    while True:
        file.write(b"x" * 2**24)
