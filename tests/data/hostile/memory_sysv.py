"""Leaves System V shared memory, which outlives its maker."""

import ctypes

libc = ctypes.CDLL(None, use_errno=True)
for key in range(0x706D, 0x706D + 64):
    libc.shmget(key, ctypes.c_size_t(2**26), 0o1666)
