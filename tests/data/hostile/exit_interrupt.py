"""Interrupts the main thread from another one, again and again."""

import _thread
import threading


def interrupt():
    while True:
        _thread.interrupt_main()


threading.Thread(target=interrupt, daemon=True).start()
