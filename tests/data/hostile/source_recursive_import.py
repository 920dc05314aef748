"""Imports itself again under other names, without end."""

import importlib.util

spec = importlib.util.spec_from_file_location("again", __file__)
if spec and spec.loader:
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
