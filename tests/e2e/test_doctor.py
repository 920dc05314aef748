"""`polymath doctor` on the machine that the tests run on."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

ROOT = Path(__file__).resolve().parents[2]


def test_this_machine_can_be_examined(polymath: Callable[..., "CompletedProcess[str]"], tmp_path: Path) -> None:
    result = polymath("doctor", "--run-dir", str(tmp_path / "not" / "there"))
    findings = [line for line in result.stdout.splitlines() if line[:5].strip()]
    assert result.returncode == any(line.startswith("fault") for line in findings), result.stdout + result.stderr
    lines = dict(line[6:].split(": ", 1) for line in findings)
    assert {"python", "libraries", "packages", "sandbox", "disk", "memory"} <= lines.keys()
    assert "torch" in lines["libraries"] and str(tmp_path) in lines["disk"]
    assert not (tmp_path / "not").exists()
