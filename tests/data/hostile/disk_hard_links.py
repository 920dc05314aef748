"""A million hard links to one file."""

import os
from pathlib import Path

Path("one").write_bytes(b"x")
for number in range(10**6):
    os.link("one", f"link-{number}")
