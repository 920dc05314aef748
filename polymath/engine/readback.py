"""What vLLM's own buffers hold against what the learner has: equal to the bit, or it did not arrive.

Likelihoods tell an adapter of long ago from the present one; after a small step they differ by less than rounding does.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch

from polymath.engine.delivery import Adapter
from polymath.sharding import columns, whole

PROBED = 8  # columns of each matrix that are looked at after a delivery


class Pair(NamedTuple):
    """What vLLM holds of a weight, and what it should; they may differ by `rounding`, relative."""

    path: str
    held: torch.Tensor
    expected: torch.Tensor
    rounding: float = 0.0


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
        others = {part for part, _ in learner if part.rpartition(".")[2] not in ("embed_tokens", "lm_head")}
        return f"{sorted(others)[0]}, like all of its layers, which nothing could be compared with" if others else ""
    differences = torch._foreach_sub([*held.values()], [*expected.values()])  # pyright: ignore[reportPrivateImportUsage]
    norms = torch._foreach_norm(differences, ord=torch.inf)  # pyright: ignore[reportPrivateImportUsage]
    largest = torch.stack(norms).tolist()
    return next((name for name, own in zip(held, largest, strict=True) if own != 0), "")


@torch.no_grad()
def weights_equal(model: Any, learner: Mapping[str, torch.Tensor], turn: int) -> dict[str, bool]:
    """Whether vLLM's weights are as in `learner`, of those that can be compared, by their names in a checkpoint.

    Matrices are fused there, and packed on a CPU: some of their columns are looked at, others at each `turn`, all of
    them in time. Everything else is compared in whole, but for the matrices of experts, which are not looked at.
    """
    alike = [*_alike(model, learner)]
    tables = [pair for pair in alike if pair.held.ndim > 1]  # too large to subtract
    others = [pair for pair in alike if pair.held.ndim == 1] + [*_columns_of_matrices(model, learner, turn)]
    apart = [*_excess(others), *((pair.held != pair.expected).any().float() for pair in tables)]
    values = torch.stack(apart).tolist() if apart else []
    equal: dict[str, bool] = {}
    for pair, value in zip(others + tables, values, strict=True):
        equal[pair.path] = equal.get(pair.path, True) and value <= 0  # which NaN is not
    return equal


def _alike(model: Any, learner: Mapping[str, torch.Tensor]) -> Iterator[Pair]:
    """Weights that vLLM has under the learner's name and in its shape."""
    for path, held in model.named_parameters():
        own = learner.get(path)
        if own is not None and held.shape[1:] == own.shape[1:] and len(held) >= len(own):  # a vocabulary is padded
            yield Pair(path, held[: len(own)], whole(own).to(held))


def _excess(pairs: list[Pair]) -> Sequence[torch.Tensor]:
    """How far the farthest number of each pair lies outside of what is allowed; a few launches for all of them."""
    if not pairs:
        return []
    _, held, expected, rounding = zip(*pairs, strict=True)
    apart: Any = torch._foreach_sub(held, expected)  # pyright: ignore[reportPrivateImportUsage]
    torch._foreach_abs_(apart)  # pyright: ignore[reportPrivateImportUsage]
    allowed = torch._foreach_abs(expected)  # pyright: ignore[reportPrivateImportUsage]
    torch._foreach_mul_(allowed, rounding)  # pyright: ignore[reportPrivateImportUsage]
    torch._foreach_sub_(apart, allowed)  # pyright: ignore[reportPrivateImportUsage]
    return torch._foreach_max(apart)  # pyright: ignore[reportPrivateImportUsage]


def rows_difference(model: Any, adapter: Adapter) -> str:
    """The table whose rows are not those that an adapter trains; '' if none."""
    tables = {path.replace(".base_layer", ""): own for path, own in model.named_parameters()}
    for table, rows in adapter.token_rows.items():
        for path, held in tables.items():
            if path.endswith(f"{table}.weight") and not torch.equal(held[adapter.token_ids], rows.to(held)):
                return path
    return ""


def _columns_of_matrices(model: Any, learner: Mapping[str, torch.Tensor], turn: int) -> Iterator[Pair]:
    """Columns `[out, PROBED]` of all matrices, by the name of the first that a layer is made of."""
    probes: dict[tuple[int, torch.dtype], tuple[torch.Tensor, torch.Tensor]] = {}  # of each width and type of matrices
    for path, layer, parts in _matrices(model, learner):
        kind = parts[0].shape[1], layer.weight.dtype
        if kind not in probes:
            probes[kind] = _unit_vectors(kind[0], turn, layer.weight)
        places, units = probes[kind]
        held = _columns(layer, units)
        own_rows = held[: sum(map(len, parts))].split([*map(len, parts)])  # a vocabulary is padded
        for rows, part in zip(own_rows, parts, strict=True):
            yield Pair(path, rows, columns(part, places).to(rows), _rounding(rows))


def _matrices(model: Any, learner: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, Any, list[torch.Tensor]]]:
    """Name, layer of vLLM, and the learner's `[out, in]` that it is made of, one below the other."""
    from vllm.model_executor.layers.linear import LinearBase
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

    for path, layer in model.named_modules():
        if isinstance(layer, LinearBase | ParallelLMHead):
            parent, dot, name = path.rpartition(".")
            fused = getattr(model, "packed_modules_mapping", {})
            names = [f"{parent}{dot}{part}.weight" for part in fused.get(name, [name])]
            if all(part in learner for part in names):
                yield names[0], layer, [learner[part] for part in names]


def _unit_vectors(size: int, turn: int, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`[PROBED]` places from all over a row, others at each `turn`, and their unit vectors `[PROBED, size]`."""
    places = torch.tensor([(turn + place * size // PROBED) % size for place in range(PROBED)], device=like.device)
    return places, torch.nn.functional.one_hot(places, size).to(like.dtype)


def _columns(layer: Any, units: torch.Tensor) -> torch.Tensor:
    """Columns `[out, len(units)]` of a layer's matrix `[out, size]`, wherever it keeps them.

    It is multiplied with unit vectors: sums of one product with 1 and others with 0 are the matrix's own numbers.
    """
    return cast(torch.Tensor, layer.quant_method.apply(layer, units)).T


def _rounding(held: torch.Tensor) -> float:
    """Of a product, relative: none, but where a GPU multiplies float32 as TF32."""
    return 2.0**-9 if held.is_cuda and held.dtype == torch.float32 else 0.0


def _scaling(config: Mapping[str, Any]) -> float:
    """What vLLM multiplies lora_B with."""
    from vllm.lora.peft_helper import PEFTHelper

    return PEFTHelper.from_dict(dict(config)).vllm_lora_scaling_factor
