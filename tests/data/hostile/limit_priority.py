"""Takes all processors, the highest priority and real time, then loops."""

import contextlib
import os

with contextlib.suppress(OSError):
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
with contextlib.suppress(OSError):
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(99))
with contextlib.suppress(OSError):
    os.setpriority(os.PRIO_PROCESS, 0, -20)
while True:
    pass
