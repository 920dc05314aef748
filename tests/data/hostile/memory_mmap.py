"""Maps anonymous shared memory and fills it."""

import mmap

held = []
while True:
    held.append(mmap.mmap(-1, 2**26))
    held[-1].write(b"x" * 2**26)
