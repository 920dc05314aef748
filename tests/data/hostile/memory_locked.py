"""Locks its memory and asks for more, out of the reach of swap."""

import ctypes

ctypes.CDLL(None).mlockall(3)
held = []
while True:
    held.append(bytearray(b"x") * 2**26)
