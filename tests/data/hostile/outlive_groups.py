"""Children that each lead a process group or session of their own."""

import os
import time

for number in range(32):
    if os.fork() == 0:
        if number % 2:
            os.setsid()
        else:
            os.setpgid(0, 0)
        time.sleep(300)
        os._exit(0)
