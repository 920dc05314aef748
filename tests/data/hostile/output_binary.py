"""Bytes that are no UTF-8, null bytes and commands of a terminal."""

import os


def add(a, b):
    os.write(1, b"\xff\xfe\x00\x00\xc3\x28\n\x1b[2J\x1b]0;polymath-escape\x07\r\n\x00")
    os.write(2, b"\xed\xa0\x80" * 1000)
