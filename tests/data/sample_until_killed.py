"""Samples 400 completions slowly through a token log, as a process of its own: `sample_until_killed.py LOG OUT`."""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from polymath.engine.local import LocalEngine
from polymath.engine.protocol import Request, Sampling
from polymath.engine.wal import LoggedEngine, TokenLog

STOP, MOST, COUNT, BATCH = 3, 60, 400, 96
STEP_SECONDS = 0.015


def engine(seed=0, seconds=0.0):
    """A model that ends a completion with about one token in nine."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 16}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "initializer_range": 0.1}
    model = Qwen3ForCausalLM(Qwen3Config(vocab_size=10, max_position_embeddings=128, **sizes, **heads)).double()
    model.register_forward_pre_hook(lambda *_: time.sleep(seconds))
    return LocalEngine(model, seed=seed, batch_size=BATCH)


def requests():
    """Every third one keeps its support."""
    return [
        Request(f"1/{index}/0", [1, 2, index % 10], Sampling(MOST, (STOP,), top_k=0 if index % 3 else 9))
        for index in range(COUNT)
    ]


if __name__ == "__main__":
    torch.set_num_threads(1)
    log, out = map(Path, sys.argv[1:])
    samples = LoggedEngine(engine(seconds=STEP_SECONDS), TokenLog(log)).generate(requests())
    out.write_text(json.dumps([vars(sample) for sample in samples]))
