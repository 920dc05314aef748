"""Files whose names break lists of names: line ends, bytes that are no UTF-8, leading dashes, 255 bytes."""

import os

for name in (b"line\nend", b"\xff\xfe", b"-rf", b" ", b"x" * 255, b"*", b"\x1b[2J", b"quote'\""):
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT))
