"""Marks a file as not to be changed or removed."""

import array
import fcntl
import os

descriptor = os.open("immutable", os.O_RDWR | os.O_CREAT)
fcntl.ioctl(descriptor, 0x40086602, array.array("l", [0x10]))
