"""Raises every limit that it is under, then takes memory."""

import contextlib
import resource

for kind in range(16):
    for wanted in (resource.RLIM_INFINITY, resource.getrlimit(kind)[1]):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(kind, (wanted, wanted))
held = []
while True:
    held.append(bytearray(b"x") * 2**26)
