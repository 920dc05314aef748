"""Reads at address 0."""

import ctypes


def add(a, b):
    ctypes.string_at(0)
