"""Makes itself the reaper of orphans and collects sleepers."""

import ctypes
import os
import time

ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
for _ in range(16):
    if os.fork() == 0:
        if os.fork() == 0:
            time.sleep(300)
        os._exit(0)
