"""Waits for a lock that it holds itself."""

import threading


def add(a, b):
    lock = threading.Lock()
    while lock.acquire():
        pass
