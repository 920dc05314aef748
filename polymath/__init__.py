"""Polymath: post-training of the DeepSeek-V4 report."""

import logging

# PEFT imports bitsandbytes wherever it is installed, which then tells of a CPU kernel that nothing here asks for
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
