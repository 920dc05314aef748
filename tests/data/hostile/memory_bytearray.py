"""Asks for one array after the other and touches every page."""

held = []
while True:
    held.append(bytearray(b"x") * 2**26)
