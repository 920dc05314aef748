"""Makes a call by the 32-bit entrance, where calls have other numbers."""

import ctypes
import mmap


def add(a, b):
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
    entry = ctypes.addressof(ctypes.c_char.from_buffer(code))
    return f"polymath-escape 32-bit {ctypes.CFUNCTYPE(ctypes.c_int)(entry)()}"
