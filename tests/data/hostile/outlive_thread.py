"""A thread that is no daemon and holds the interpreter's end up."""

import threading
import time

threading.Thread(target=time.sleep, args=(300,), daemon=False).start()


def add(a, b):
    threading.Thread(target=time.sleep, args=(300,), daemon=False).start()
    return "started"
