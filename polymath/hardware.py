"""What this machine computes with, asked of the system: importing torch takes seconds, and may start a CUDA driver."""

import os
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
OTHER_GPUS = Path("/dev/kfd"), Path("/dev/dxg")  # AMD's, and any under Windows
BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}  # instructions of x86 and of ARM


def count_gpus() -> int:
    """GPUs that stages may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([device for device in visible.split(",") if device.strip() not in ("", "-1")])
    return len([path for path in Path("/dev").glob("nvidia[0-9]*") if path.name[6:].isdigit()])


def multiplies_in_bfloat16(cpuinfo: Path = CPUINFO) -> bool:
    """Whether stages run on something that does; a CPU without instructions for it is several times as slow in it."""
    if count_gpus() or any(path.exists() for path in OTHER_GPUS):
        return True
    return cpuinfo.exists() and not BFLOAT16.isdisjoint(cpuinfo.read_text().split())
