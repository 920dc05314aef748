"""Two GPUs learn what one does, from the same tokens."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("sharded", [[], ["--fsdp"]], ids=["ddp", "fsdp2"])
def test_the_loss_of_two_processes_is_that_of_one(tmp_path: Path, sharded: list[str]) -> None:
    command = [sys.executable, "docs/results/opd_step.py", "ours", "tiny", "lora", "--tokens", str(tmp_path / "tokens")]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0,1").split(",")
    for devices, more in ((visible[:1], []), (visible[:2], ["--processes", "2", *sharded])):
        env = os.environ | {"OUT": str(tmp_path), "CUDA_VISIBLE_DEVICES": ",".join(devices)}
        subprocess.run([*command, *more], cwd=ROOT, env=env, check=True, timeout=600)
    one, two = (json.loads(line)["first_loss"] for line in (tmp_path / "opd_step.jsonl").read_text().splitlines())
    assert two == pytest.approx(one, rel=1e-2)  # other shapes of products round otherwise
