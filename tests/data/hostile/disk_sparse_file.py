"""A file of 8 TiB without content, then one with content far out."""

import os

descriptor = os.open("sparse", os.O_RDWR | os.O_CREAT)
os.truncate(descriptor, 2**43)
os.pwrite(descriptor, b"x" * 2**20, 2**42)
