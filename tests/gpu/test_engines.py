"""Engines that are opened one after the other in one process, as those of a stage that scores several models."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import Qwen3Config, Qwen3ForCausalLM

from polymath.engine.colocated import ENVIRONMENT
from polymath.engine.config import EngineConfig
from polymath.engine.opening import OneAfterAnother
from polymath.engine.protocol import Request, Sampling

pytestmark = pytest.mark.gpu


def saved(folder: Path) -> Any:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4, "head_dim": 64}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.1}
    model: Any = Qwen3ForCausalLM(Qwen3Config(vocab_size=512, max_position_embeddings=256, **heads, **sizes))
    model.to(torch.bfloat16).save_pretrained(folder)
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def test_engines_of_another_kind_follow_one_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    whole, folder = saved(tmp_path / "base"), (tmp_path / "base").resolve()
    adapted = get_peft_model(saved(tmp_path / "other"), LoraConfig(r=8, target_modules="all-linear"))
    adapted.save_pretrained(str(tmp_path / "adapter"))
    config = EngineConfig(use_vllm=True, vllm_gpu_memory_utilization=0.2, vllm_max_model_length=128)
    engines = OneAfterAnother(config=config, seed=0, at_once=32, bf16=True)
    requests = [Request(f"1/{place}", [5, 6, place], Sampling(16, ())) for place in range(32)]
    other = (tmp_path / "other").resolve()
    held = []
    for policy, source in [(whole, folder), (adapted, other), (whole, folder), (adapted, other)]:
        engine = engines.engine(policy, source)
        samples = engine.generate(requests)
        assert [len(own.ids) for own in samples] == [16] * len(requests)
        held.append(torch.cuda.memory_allocated() if torch.cuda.is_available() else 0)
    engines.close()
    assert held[2] <= held[0] * 1.1 and held[3] <= held[1] * 1.1  # nothing of those before is left
