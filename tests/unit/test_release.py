"""What leaves a run: GGUF files, what a card says of scores, and how far an export may be from its stage."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from polymath.release.card import Row
from polymath.release.gguf_file import read_gguf, write_gguf
from polymath.release.weights import compare, logprobs
from polymath.tiny import build_tokenizer

SIZES: dict[str, Any] = {
    "vocab_size": 416, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 128,
}  # fmt: skip
MODELS = [
    lambda tied: LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=tied)),
    lambda tied: Qwen3ForCausalLM(Qwen3Config(**SIZES, tie_word_embeddings=tied)),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a tokenizer that splits text as GPT-2's does."""
    tokenizer: Any = build_tokenizer(["look up the entry of Ada"], 400)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.save_pretrained(path := tmp_path_factory.mktemp("tokenizer"))
    return path


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("make", MODELS)
def test_a_gguf_file_says_what_the_model_says(make: Any, tied: bool, folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = make(tied).eval()
    texts = [list(range(3, 40)), [7, 300, 20]]
    write_gguf(model, folder, tmp_path / "own.gguf", "own", "float32")
    read = read_gguf(tmp_path / "own.gguf", model.config)
    assert compare(logprobs(model, texts), logprobs(read, texts), "float32").holds()
    with torch.no_grad():
        next(read.parameters())[3] += 1.0
    assert not compare(logprobs(model, texts), logprobs(read, texts), "bfloat16").holds()


def test_what_the_format_has_no_place_for_is_refused(folder: Path, tmp_path: Path) -> None:
    model = MODELS[1](True)
    model.config.model_type = "mamba"
    with pytest.raises(ValueError, match="this model is a mamba"):
        write_gguf(model, folder, tmp_path / "own.gguf", "own", "float32")
    model.config.model_type = "qwen3"
    model.config.rope_parameters = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4}
    with pytest.raises(ValueError, match="plain rotary"):
        write_gguf(model, folder, tmp_path / "own.gguf", "own", "float32")
    build_tokenizer(["look"], 400).save_pretrained(tmp_path / "tiny")
    with pytest.raises(ValueError, match="how this tokenizer splits text"):
        write_gguf(MODELS[0](True), tmp_path / "tiny", tmp_path / "own.gguf", "own", "float32")
    assert not (tmp_path / "own.gguf").exists()


@pytest.mark.parametrize(
    ("before", "after", "n", "change"),
    [(50, 80, 200, "better"), (50, 30, 200, "worse"), (50, 52, 200, "no clear change"), (50, 80, 4, "no clear change"),
     (0, 100, 100, "better"), (0, 100, 1, "no clear change"), (0, 100, 3, "better"), (0, 10, 20, "no clear change"),
     (None, 80, 9, "not measured before")],
)  # fmt: skip
def test_a_card_says_no_more_than_the_errors_allow(before: float | None, after: float, n: int, change: str) -> None:
    assert Row("d", "m", n, before, after, (after * (100 - after) / n) ** 0.5).change() == change
