"""What vLLM's own buffers hold against what the learner has: equal to the bit, or it did not arrive.

Likelihoods tell an adapter of long ago from the present one; after a small step they differ by less than rounding does.
"""

from collections.abc import Mapping
from typing import Any

import torch

from polymath.engine.delivery import Adapter


@torch.no_grad()
def adapter_difference(manager: Any, version: int, adapter: Adapter) -> str:
    """What is not as in `adapter` among the buffers that requests of this version are computed with; '' if nothing.

    vLLM keeps a head's and an embedding's otherwise; those are not looked at.
    """
    from vllm.lora.utils import parse_fine_tuned_lora_name

    if version not in manager.lora_index_to_id:
        return f"the adapter of version {version}, which is not in use"
    slot = manager.lora_index_to_id.index(version)
    learner = {parse_fine_tuned_lora_name(path): tensor for path, tensor in adapter.tensors.items()}
    scaling = _scaling(adapter.config)
    held, expected = {}, {}
    for path, module in manager.modules.items():
        for place, part in enumerate(manager.packed_modules.get(path, [path])):
            for is_a in (True, False):
                buffers: Any = getattr(module, "lora_a_stacked" if is_a else "lora_b_stacked", None)
                own = learner.get((part, is_a))
                if own is None or not isinstance(buffers, tuple | list):
                    continue
                name = f"{part}.lora_{'A' if is_a else 'B'}"
                held[name] = buffers[place][slot, 0, : own.shape[0], : own.shape[1]]
                expected[name] = own.to(held[name]) if is_a else own.to(held[name]) * scaling
    if not held:
        return ""
    differences = torch._foreach_sub([*held.values()], [*expected.values()])  # pyright: ignore[reportPrivateImportUsage]
    norms = torch._foreach_norm(differences, ord=torch.inf)  # pyright: ignore[reportPrivateImportUsage]
    largest = torch.stack(norms).tolist()
    return next((name for name, own in zip(held, largest, strict=True) if own != 0), "")


@torch.no_grad()
def weights_difference(model: Any, learner: Mapping[str, torch.Tensor]) -> str:
    """The first of vLLM's parameters that is not as the learner's of that name and shape; '' if none.

    What vLLM fuses, packs or pads has another name or shape, and is not looked at.
    """
    both = [(path, held, learner[path]) for path, held in model.named_parameters() if path in learner]
    both = [(path, held, own) for path, held, own in both if held.shape == own.shape]
    if not both:
        return ""
    differs = torch.stack([(held != own.to(held)).any() for _, held, own in both]).tolist()
    return next((path for (path, _, _), own in zip(both, differs, strict=True) if own), "")


def _scaling(config: Mapping[str, Any]) -> float:
    """What vLLM multiplies lora_B with."""
    from vllm.lora.peft_helper import PEFTHelper

    return PEFTHelper.from_dict(dict(config)).vllm_lora_scaling_factor
