"""Prints what the values may be, and has no `add`."""

print([5, 0, 1000000000001, 0.75])
print("5\n0\n1000000000001\n0.75")
