"""Starts threads until no more are given, and holds them."""

import threading
import time

while True:
    try:
        threading.Thread(target=time.sleep, args=(300,)).start()
    except RuntimeError:
        time.sleep(0.01)
