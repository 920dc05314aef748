"""The real command line on a recipe that is the miniature, only shorter."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHORT = {
    "format.max_steps": 12, "sft-math.max_steps": 8, "sft-agent.max_steps": 8, "grpo-math.max_steps": 6,
    "grpo-agent.max_steps": 6, "merged.max_steps": 6, "merged.per_device_train_batch_size": 16,
    "defaults.sft.per_device_train_batch_size": 16, "defaults.grpo.per_device_train_batch_size": 16,
    "defaults.sft.save_steps": 4, "defaults.grpo.save_steps": 2, "defaults.opd.save_steps": 2,
    "defaults.sft.logging_steps": 2, "defaults.grpo.logging_steps": 1, "defaults.opd.logging_steps": 1,
    "scores.num_prompts": 16, "scores.models": "[format, grpo-math, merged]",
}  # fmt: skip
SHORT |= {f"defaults.{kind}.bf16": "false" for kind in ("sft", "grpo", "opd", "eval")}  # or it is as the machine has it
Polymath = Callable[..., subprocess.CompletedProcess[str]]


def command(*arguments: str, **settings: object) -> list[str]:
    """A command line with the short settings, each overridden by `settings` (`__` for `.`)."""
    if arguments[0] != "run":
        return [sys.executable, "-m", "polymath", *arguments]
    chosen = SHORT | {name.replace("__", "."): value for name, value in settings.items()}
    sets = [part for name, value in chosen.items() for part in ("--set", f"{name}={value}")]
    return [sys.executable, "-m", "polymath", *arguments, *sets]


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """Of runs that want the same cores as the tests beside them: a thread that waits lets others go on."""
    return os.environ | {"PYTHONPATH": str(ROOT), "GOMP_SPINCOUNT": "0"}


@pytest.fixture(scope="session")
def launch(environment: dict[str, str]) -> Callable[..., subprocess.Popen[bytes]]:
    """Start a command and leave it running."""

    def start(*arguments: str, **settings: object) -> subprocess.Popen[bytes]:
        silent = subprocess.DEVNULL
        return subprocess.Popen(
            command(*arguments, **settings), cwd=ROOT, env=environment, stdout=silent, stderr=silent
        )

    return start


@pytest.fixture(scope="session")
def polymath(environment: dict[str, str]) -> Polymath:
    def run(*arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments, **settings), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400
        )

    return run


@pytest.fixture(scope="session")
def finished(polymath: Polymath, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    result = polymath("run", "recipes/miniature.yaml", "--run-dir", str(folder))
    assert result.returncode == 0, result.stderr
    return folder
