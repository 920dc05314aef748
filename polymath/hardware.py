"""What this machine computes with, asked of the system: importing torch takes seconds, and may start a CUDA driver."""

import os
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
OTHER_GPUS = Path("/dev/kfd"), Path("/dev/dxg")  # AMD's, and any under Windows
BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}  # instructions of x86 and of ARM


def gpus() -> list[str]:
    """GPUs that stages may use, as `CUDA_VISIBLE_DEVICES` names them; one can be named twice."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for device in visible.split(",") if (name := device.strip()) not in ("", "-1")]
    return [
        str(number) for number, _ in enumerate(p for p in Path("/dev").glob("nvidia[0-9]*") if p.name[6:].isdigit())
    ]


def device_memory(devices: Sequence[str]) -> int | None:
    """Bytes of the smallest of these GPUs, as its driver says; None where it says nothing."""
    query = ["nvidia-smi", "--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    sizes = {}
    for index, uuid, size in (line.split(", ") for line in told.strip().splitlines()):
        sizes[index] = sizes[uuid] = int(size) * 2**20
    return min((sizes[device] for device in devices if device in sizes), default=None)


def available_memory() -> int:
    """Bytes of the host's, within what a container may have."""
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(fields["MemAvailable"].split()[0]) * 1024
    group = Path("/sys/fs/cgroup")
    try:
        return min(free, int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    except (OSError, ValueError):  # no such group, or no limit
        return free


class Slots:
    """Places for stages' processes, by number: one on each device that is named, so that one named twice has two."""

    def __init__(self, devices: Sequence[str]) -> None:
        self.devices, self._free = list(devices), list(range(len(devices)))

    def most(self) -> int:
        """Processes that one stage can have, for each needs a device of its own."""
        return len(set(self.devices))

    def take(self, count: int) -> list[int]:
        """Slots on so many devices, those first that have the least to do; none where there are not so many now."""
        busy = Counter(self.devices)
        busy.subtract(self.devices[slot] for slot in self._free)
        by_device: dict[str, int] = {}
        for slot in sorted(self._free, key=lambda slot: busy[self.devices[slot]]):
            by_device.setdefault(self.devices[slot], slot)
        taken = [*by_device.values()][:count]
        if len(taken) < count:
            return []
        self._free = [slot for slot in self._free if slot not in taken]
        return taken

    def give_back(self, slots: Sequence[int]) -> None:
        """What a stage has taken."""
        self._free = sorted([*self._free, *slots])


def multiplies_in_bfloat16(cpuinfo: Path = CPUINFO) -> bool:
    """Whether stages run on something that does; a CPU without instructions for it is several times as slow in it."""
    if gpus() or any(path.exists() for path in OTHER_GPUS):
        return True
    return cpuinfo.exists() and not BFLOAT16.isdisjoint(cpuinfo.read_text().split())
