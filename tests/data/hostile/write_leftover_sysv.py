"""Leaves a text in System V shared memory for a later run."""

import ctypes

libc = ctypes.CDLL(None)
libc.shmat.restype = ctypes.c_void_p
made = libc.shmget(0x706D, 4096, 0o1666)
if made >= 0:
    ctypes.memmove(libc.shmat(made, None, 0), b"left by an earlier run", 22)
