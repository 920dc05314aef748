"""What stages compute in by default follows the machine."""

from pathlib import Path

import pytest

from polymath.eval_config import EvalConfig
from polymath.hardware import Slots, gpus, multiplies_in_bfloat16

X86 = "processor\t: 0\nmodel name\t: AMD EPYC 7763\nflags\t\t: fpu sse2 avx2 {}\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd sve {}\n"


@pytest.mark.parametrize(
    ("text", "due"),
    [
        (X86.format("avx512f"), False),
        (X86.format("avx512f avx512_bf16"), True),
        (X86.format("amx_bf16 amx_tile"), True),
        (ARM.format("i8mm"), False),
        (ARM.format("bf16"), True),
    ],
)
def test_a_cpu_needs_instructions_and_a_gpu_has_them(
    text: str, due: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(text)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert multiplies_in_bfloat16(cpuinfo) == due and not multiplies_in_bfloat16(tmp_path / "none")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert multiplies_in_bfloat16(cpuinfo)


def test_a_recipe_may_say_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert EvalConfig(models=("base",), domains=("math",)).bf16
    assert not EvalConfig(models=("base",), domains=("math",), bf16=False).bf16


def test_stages_spread_over_the_gpus_that_are_named() -> None:
    slots = Slots(["0", "0", "1", "1", "1"])
    assert [slots.take(1) for _ in range(6)] == [[0], [2], [1], [3], [4], []]
    slots.give_back([2])
    assert slots.take(1) == [2]


def test_processes_of_one_stage_have_a_gpu_each() -> None:
    slots = Slots(["0", "0", "1", "0"])
    assert slots.most() == 2 and slots.take(3) == []
    assert sorted(slots.take(2)) == [0, 2]
    assert slots.take(2) == []  # what is left is one GPU, named twice
    assert slots.take(1) == [1]
    slots.give_back([0, 2])
    assert sorted(slots.take(2)) == [0, 2]


def test_gpus_are_those_that_are_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    for visible, due in (("1, 0,1", ["1", "0", "1"]), ("GPU-5f,-1", ["GPU-5f"]), ("", [])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert gpus() == due
