"""What lies in a model's folder is all there, or is refused by its name: transformers would draw what is missing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import Qwen3Config, Qwen3ForCausalLM

from distill.merge import Stored, merge_whole
from distill.merge_config import MergeConfig
from distill.teachers import load_teachers
from polymath.models import load_model, load_whole
from polymath.run_dir import read_json, write_json

LAYER = "model.layers.1.mlp.up_proj"
Weights = dict[str, torch.Tensor]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 16}
    config = Qwen3Config(vocab_size=320, num_attention_heads=2, num_key_value_heads=1, **sizes)
    Qwen3ForCausalLM(config).save_pretrained(tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    model = get_peft_model(load_model(base, "float32"), LoraConfig(r=4, target_modules="all-linear"))
    model.save_pretrained(str(tmp_path / "adapter"))
    return tmp_path / "adapter"


def changed(file: Path, change: Callable[[Weights], object]) -> None:
    weights = load_file(file)
    change(weights)
    save_file(weights, file, metadata={"format": "pt"})


def drop(*names: str) -> Callable[[Weights], object]:
    return lambda weights: [weights.pop(name) for name in names]


def test_weights_that_are_missing_are_refused_and_not_drawn(base: Path) -> None:
    changed(base / "model.safetensors", drop(f"{LAYER}.weight", "model.norm.weight"))
    for load in (load_whole, lambda folder: load_model(folder, "bfloat16")):
        with pytest.raises(
            ValueError, match=rf"{base}: its weights lack {LAYER}.weight and 1 more, which its settings"
        ):
            load(base)


def test_a_model_of_fewer_layers_than_its_settings_ask_for_is_not_merged(base: Path, tmp_path: Path) -> None:
    write_json(base / "config.json", read_json(base / "config.json") | {"num_hidden_layers": 3, "layer_types": None})
    folders = {"base": base, "one": base, "two": base}
    config = MergeConfig.model_validate({"models": ["one", "two"]})
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match=r"base: its weights lack model.layers.2.input_layernorm.weight and 10 more"):
        merge_whole(folders, config, 0, tmp_path / "out")


@pytest.mark.parametrize("file", ["base/model.safetensors", "adapter/adapter_model.safetensors"])
def test_a_file_that_is_cut_off_is_named(base: Path, adapter: Path, tmp_path: Path, file: str) -> None:
    path = tmp_path / file
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=rf"{path.parent}: its weights cannot be read \(.*\); copy or save them again"):
        load_model(adapter, "float32")
    with pytest.raises(ValueError, match=rf"models: 'one' in {path.parent}: its weights cannot be read \("):
        Stored("one", path.parent)


def narrow(weights: Weights) -> None:
    weights[f"base_model.model.{LAYER}.lora_A.weight"] = torch.zeros(4, 31)


@pytest.mark.parametrize(
    ("change", "alone", "shared"),
    [
        (
            drop(f"base_model.model.{LAYER}.lora_A.weight"),
            f"lack base_model.model.{LAYER}.lora_A",
            "do not go together",
        ),
        (
            drop(f"base_model.model.{LAYER}.lora_B.weight"),
            f"lack base_model.model.{LAYER}.lora_B",
            "do not go together",
        ),
        (narrow, "size mismatch", rf"{LAYER} has widths \(31, 48\), and the base has \(32, 48\)"),
    ],
    ids=["without-a", "without-b", "narrow"],
)
def test_an_adapter_that_is_broken_teaches_nobody(
    base: Path, adapter: Path, change: Callable[[Weights], object], alone: str, shared: str
) -> None:
    """Neither as a model of its own nor beside the student's on the student's base."""
    student = get_peft_model(load_model(base, "float32"), LoraConfig(r=2, target_modules=["q_proj"]))
    assert load_teachers(student, base, {"math": adapter}, "float32", torch.device("cpu"))
    changed(adapter / "adapter_model.safetensors", change)
    with pytest.raises((ValueError, RuntimeError), match=alone):
        load_model(adapter, "float32")
    with pytest.raises(ValueError, match=shared):
        load_teachers(student, base, {"math": adapter}, "float32", torch.device("cpu"))
