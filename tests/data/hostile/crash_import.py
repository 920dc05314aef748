"""Crashes the process that loads it."""

import ctypes

ctypes.memset(0, 1, 1)
