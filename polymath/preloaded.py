"""What stages begin with, imported by the server that they are forked from.

None of it is ever garbage: to look for some meanwhile takes seconds, and in a stage would copy the pages that are read.
"""

import gc
import importlib

from polymath.pipeline import RUNNERS

gc.disable()
for runner in dict.fromkeys(RUNNERS.values()):
    importlib.import_module(runner)
gc.freeze()
gc.enable()
