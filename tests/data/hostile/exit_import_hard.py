"""Leaves with success at import, by `os._exit`."""

import os

os._exit(0)
