"""Folders within folders, deeper than a path can name."""

import os

for _ in range(10**5):
    os.mkdir("deep" * 50)
    os.chdir("deep" * 50)
