"""Takes all memory and swallows the error, again and again."""

held = []
size = 2**30
while True:
    try:
        held.append(bytearray(size))
    except MemoryError:
        size = max(size // 2, 1)
