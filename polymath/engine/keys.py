"""The room that an engine's keys and values take; no torch."""

from typing import Any

KEYS_SPARE = 1.1  # some are held back
BLOCK = 128  # tokens of the largest block of keys, which a sequence may fill in part: vLLM's on a CPU
MOST_ON_CPU = 2**30  # bytes


def bytes_of_keys(config: Any, tokens: int, itemsize: int) -> int | None:
    """Of so many tokens, by a model's configuration; None where it keeps its cache in a way of its own."""
    text = config.get_text_config()
    if getattr(text, "kv_lora_rank", None) or len(set(getattr(text, "layer_types", None) or ())) > 1:
        return None
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return 2 * text.num_hidden_layers * heads * size * itemsize * tokens


def room_for_keys(config: Any, sequences: int, length: int | None, itemsize: int, allowed: int) -> int | None:
    """Bytes that `sequences` of full length fill; None where an engine may take all it is allowed.

    vLLM takes all that `gpu_memory_utilization` leaves, most of which a batch of known size never fills, and the
    learner goes without. `allowed` is what is left for keys beside the weights.
    """
    longest = -(-(length or config.get_text_config().max_position_embeddings) // BLOCK) * BLOCK
    needed = bytes_of_keys(config, sequences * longest, itemsize)
    if needed is None or (needed := int(KEYS_SPARE * needed)) >= allowed:
        return None
    return needed
