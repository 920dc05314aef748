"""Takes every permission from the scratch folder, so that it cannot be cleared."""

import os
from pathlib import Path

Path("locked").mkdir()
Path("locked/file").write_bytes(b"x")
os.chmod("locked", 0)
os.chmod(".", 0)
