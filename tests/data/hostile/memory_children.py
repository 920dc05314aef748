"""Many children, each below the limit of one process."""

import os
import time

for _ in range(64):
    try:
        if os.fork() == 0:
            held = bytearray(b"x") * (200 * 2**20)
            time.sleep(300)
            os._exit(len(held) % 2)
    except OSError:
        break
time.sleep(300)
