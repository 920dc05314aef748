"""Sleeps for ever at import."""

import time

time.sleep(10**9)
