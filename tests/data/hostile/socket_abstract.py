"""Listens on a name of a local socket that lies in no file system."""

import socket


def add(a, b):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("\0polymath-escape")
        server.listen()
        server.accept()
