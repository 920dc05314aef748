"""`python -m polymath`. Processes that are spawned import what theirs began with again, but never a `__main__`."""

from polymath.entry import main

main()
