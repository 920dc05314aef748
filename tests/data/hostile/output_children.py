"""Many children that each write for ever."""

import os

for _ in range(32):
    if os.fork() == 0:
        while True:
            os.write(1, b"x" * 2**16)
