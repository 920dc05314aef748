"""What leaves the learner: an adapter's tensors alone, or all weights once. Nothing is merged, no base is touched."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from peft import PeftModel
from transformers.core_model_loading import revert_weight_conversion

from polymath.sharding import whole

LORA = ("lora_A", "lora_B")
_FOUND: WeakKeyDictionary[PeftModel, tuple[str, dict[str, torch.nn.Parameter]]] = WeakKeyDictionary()
TOKEN_ROWS = ".token_adapter.trainable_tokens_delta"  # PEFT's name of rows of the vocabulary that an adapter trains


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter as it is at this moment. The tensors are the learner's own: whoever keeps them copies them."""

    config: dict[str, Any]  # as in adapter_config.json
    tensors: dict[str, torch.Tensor]  # name in the adapter's file -> lora_A [r, in] or lora_B [out, r]
    token_ids: list[int]
    token_rows: dict[str, torch.Tensor]  # embed_tokens, and lm_head where it has its own: [token_ids, H]


def adapter_of(policy: PeftModel) -> Adapter:
    """The adapter that `policy` trains."""
    name = policy.active_adapter
    assert isinstance(name, str), "one adapter is trained"
    config = policy.peft_config[name].to_dict()
    own = {path: whole(parameter.detach()) for path, parameter in _parameters(policy, name).items()}
    tensors = {path: tensor for path, tensor in own.items() if any(part in path for part in LORA)}
    rows = {path.removesuffix(TOKEN_ROWS).rpartition(".")[2]: t for path, t in own.items() if path.endswith(TOKEN_ROWS)}
    if left := own.keys() - tensors.keys() - {path for path in own if path.endswith(TOKEN_ROWS)}:
        raise ValueError(f"vLLM cannot be given {sorted(left)[0]}: take it out of the stage's lora settings")
    indices: Any = config.get("trainable_token_indices") or []  # ids, or a table's name -> ids
    ids: list[int] = list(next(iter(indices.values())) if isinstance(indices, dict) else indices)
    return Adapter(config, tensors, ids, rows)


def _parameters(policy: PeftModel, name: str) -> dict[str, torch.nn.Parameter]:
    """The adapter's parameters; their values change, they do not, and the search for them takes long."""
    known, own = _FOUND.get(policy, ("", {}))
    if known != name:
        own = {path.replace(f".{name}", ""): p for path, p in policy.named_parameters() if f".{name}" in path}
        _FOUND[policy] = name, own
    return own


def weights_of(policy: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """All weights of a model that trains them, one after the other, see `parts_of`."""
    for name, tensor in parts_of(policy).items():
        yield name, whole(tensor)


def parts_of(policy: Any) -> dict[str, torch.Tensor]:
    """What this process has of them, by their names in a checkpoint, which split what transformers fuses."""
    own = {name: parameter.detach() for name, parameter in policy.named_parameters()}
    return revert_weight_conversion(policy, own)
