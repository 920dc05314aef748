"""Links that lead to each other, and folders that hold themselves."""

import os

os.symlink("two", "one")
os.symlink("one", "two")
os.symlink(".", "self")
os.mkdir("inner")
os.symlink("..", "inner/outer")
