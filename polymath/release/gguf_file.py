"""A model as one GGUF file, for llama.cpp and what reads its format; written by the library `gguf`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import torch

from polymath import models

ARCHITECTURES = {"llama": "LLAMA", "qwen3": "QWEN3"}  # model_type -> gguf.MODEL_ARCH
# How readers split text before they merge bytes goes by a name; these are llama.cpp's names
GPT2 = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3_SPLIT = QWEN2_SPLIT.replace(r"\p{N}| ?[^", r"\p{N}{1,3}| ?[^")
SPLITS = {QWEN2_SPLIT: "qwen2", LLAMA3_SPLIT: "llama-bpe"}


def write_gguf(model: Any, tokenizer_of: Path, path: Path, name: str, dtype: models.Dtype) -> None:
    """Write weights (matrices in `dtype`, all else in float32), vocabulary and chat template.

    Raises `ValueError` where the format has no place for the architecture or the tokenizer.
    """
    import gguf

    config = model.config
    if config.model_type not in ARCHITECTURES:
        raise ValueError(f"GGUF is written for {', '.join(ARCHITECTURES)}, and this model is a {config.model_type}")
    if (config.rope_parameters or {}).get("rope_type", "default") != "default":
        raise ValueError(f"GGUF is written for plain rotary embeddings, not for {config.rope_parameters}")
    tokenizer = json.loads((tokenizer_of / "tokenizer.json").read_text(encoding="utf-8"))
    split = _split(tokenizer)
    architecture = getattr(gguf.MODEL_ARCH, ARCHITECTURES[config.model_type])
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[architecture])
    _add_settings(writer, config, name)
    _add_vocabulary(writer, tokenizer, tokenizer_of, split, model.get_input_embeddings().num_embeddings)
    names = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
    for key, weight in _weights(model, config):
        place = names.get_name(key, try_suffixes=(".weight", ".bias"))
        if place is None:
            raise ValueError(f"GGUF has no place for the weight {key}")
        _add_tensor(writer, place, weight, dtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read_gguf(path: Path, config: Any) -> Any:
    """The model of a file in float32. `config` says what transformers does not read of it, as the size of heads."""
    from transformers import AutoModelForCausalLM

    place: dict[str, Any] = {"pretrained_model_name_or_path": path.parent, "gguf_file": path.name}
    return AutoModelForCausalLM.from_pretrained(**place, config=config, dtype=torch.float32).eval()


def _split(tokenizer: dict[str, Any]) -> str:
    before = tokenizer.get("pre_tokenizer") or {}
    parts = before.get("pretokenizers", [])
    patterns = [part["pattern"].get("Regex") for part in parts if part["type"] == "Split"]
    if tokenizer["model"]["type"] == "BPE":
        if GPT2.items() <= before.items():
            return "gpt-2"
        if len(parts) == 2 and patterns and patterns[0] in SPLITS:
            return SPLITS[patterns[0]]
        if [part["type"] for part in parts] == ["Digits", "ByteLevel"] and parts[0].get("individual_digits"):
            return "smollm"
    raise ValueError("GGUF has no name for how this tokenizer splits text: export it merged instead (--form merged)")


def _add_settings(writer: Any, config: Any, name: str) -> None:
    import gguf

    writer.add_name(name)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_rope_dimension_count(head_dim)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_vocab_size(config.vocab_size)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _add_vocabulary(writer: Any, tokenizer: dict[str, Any], folder: Path, split: str, size: int) -> None:
    """All rows of the embedding have a token, those that the tokenizer does not know a name of their own."""
    from gguf import TokenType

    tokens = [f"[PAD{place}]" for place in range(size)]
    kinds = [TokenType.UNUSED] * size
    for text, place in tokenizer["model"]["vocab"].items():
        tokens[place], kinds[place] = text, TokenType.NORMAL
    for own in tokenizer["added_tokens"]:
        tokens[own["id"]] = own["content"]
        kinds[own["id"]] = TokenType.CONTROL if own["special"] else TokenType.USER_DEFINED
    merges = [own if isinstance(own, str) else " ".join(own) for own in tokenizer["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    loaded: Any = models.load_tokenizer(folder)
    for add, token in (
        (writer.add_bos_token_id, loaded.bos_token_id),
        (writer.add_eos_token_id, loaded.eos_token_id),
        (writer.add_pad_token_id, loaded.pad_token_id),
    ):
        if token is not None:
            add(token)
    writer.add_add_bos_token(False)  # the template writes what stands first
    if template := loaded.chat_template:
        writer.add_chat_template(template)


def _weights(model: Any, config: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Each weight once, under its name; heads of Llama in the order that the format has them."""
    tied = config.tie_word_embeddings
    for key, weight in model.state_dict().items():
        if tied and key == "lm_head.weight":
            continue
        if config.model_type == "llama" and key.endswith(("q_proj.weight", "k_proj.weight")):
            heads = config.num_attention_heads if "q_proj" in key else config.num_key_value_heads
            weight = weight.view(heads, 2, len(weight) // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)
        yield key, weight.detach().cpu()


def _add_tensor(writer: Any, name: str, weight: torch.Tensor, dtype: models.Dtype) -> None:
    import gguf

    if weight.ndim == 1 or dtype == "float32":
        writer.add_tensor(name, weight.float().contiguous().numpy())
        return
    raw = weight.to(torch.bfloat16).contiguous().view(torch.int16).numpy().view(numpy.uint16)
    writer.add_tensor(name, raw.view(numpy.uint8), raw_dtype=gguf.GGMLQuantizationType.BF16)
