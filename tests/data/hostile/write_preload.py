"""Sets what the loader and the interpreter read, for what is started after it."""

import os
from pathlib import Path

Path("polymath-escape.so").write_bytes(b"\x7fELF")
Path("startup.py").write_text("open('/tmp/polymath-escape-startup', 'w').close()\n")
os.environ["LD_PRELOAD"] = os.path.abspath("polymath-escape.so")
os.environ["LD_LIBRARY_PATH"] = os.environ["PYTHONPATH"] = os.environ["PATH"] = os.getcwd()
os.environ["PYTHONSTARTUP"] = os.environ["BASH_ENV"] = os.path.abspath("startup.py")
