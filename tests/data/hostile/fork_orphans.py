"""Makes orphans: each child forks a sleeper and leaves."""

import os
import time

for _ in range(10_000):
    try:
        if os.fork() == 0:
            if os.fork() == 0:
                time.sleep(300)
            os._exit(0)
    except OSError:
        break
