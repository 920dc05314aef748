"""Takes away the functions that all code uses."""

import builtins

for name in dir(builtins):
    if name not in ("__build_class__", "__name__"):
        builtins.__dict__.pop(name)
