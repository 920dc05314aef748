"""Fills the kernel's buffers of pipes and socket pairs."""

import contextlib
import fcntl
import os
import socket
import time

held = []
with contextlib.suppress(OSError):
    while True:
        reader, writer = os.pipe()
        held.append((reader, writer))
        fcntl.fcntl(writer, 1031, 2**20)
        os.set_blocking(writer, False)
        os.write(writer, b"x" * 2**20)
with contextlib.suppress(OSError):
    while True:
        pair = socket.socketpair()
        held.append(pair)
        pair[0].setblocking(False)
        pair[0].send(b"x" * 2**20)
time.sleep(300)
