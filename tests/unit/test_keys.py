"""The room for keys and values, beside what a model really has of them."""

import pytest
import torch
from transformers import DynamicCache, Qwen3Config, Qwen3ForCausalLM

from polymath.engine.keys import BLOCK, KEYS_SPARE, bytes_of_keys, room_for_keys

CONFIG = Qwen3Config(
    vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=3, num_attention_heads=4,
    num_key_value_heads=2, head_dim=16, max_position_embeddings=1024,
)  # fmt: skip


def test_a_models_own_cache_takes_as_much() -> None:
    cache = DynamicCache()
    Qwen3ForCausalLM(CONFIG)(torch.zeros(5, 7, dtype=torch.long), past_key_values=cache)
    held = sum(getattr(layer, part).nbytes for layer in cache.layers for part in ("keys", "values"))
    assert bytes_of_keys(CONFIG, 5 * 7, 4) == held


@pytest.mark.parametrize(("length", "blocks"), [(1, 1), (BLOCK, 1), (BLOCK + 1, 2), (None, 1024 // BLOCK)])
def test_each_sequence_has_whole_blocks(length: int | None, blocks: int) -> None:
    """vLLM puts no two sequences into one."""
    room = room_for_keys(CONFIG, 5, length, 4, 2**40)
    assert room == int(KEYS_SPARE * (bytes_of_keys(CONFIG, 5 * blocks * BLOCK, 4) or 0))


def test_what_does_not_fit_takes_what_it_may() -> None:
    whole = room_for_keys(CONFIG, 5, None, 4, 2**40)
    assert whole and room_for_keys(CONFIG, 5, None, 4, whole) is None
    assert room_for_keys(CONFIG, 5, None, 4, whole + 1) == whole
