"""Weights of which each process has a part of every tensor, as FSDP2 keeps them."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor
from transformers.modeling_layers import GradientCheckpointingLayer
from trl.models.utils import _ForwardRedirection

Result = TypeVar("Result")


def is_sharded(model: Any) -> bool:
    """Whether this process has no more than a part."""
    return isinstance(model, FSDPModule)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """All of a tensor of which each process may have a part; then all of them have to call this, in one order."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def columns(matrix: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Those columns of a matrix `[out, in]`, all of each."""
    if not isinstance(matrix, DTensor):
        return matrix.index_select(1, places.to(matrix.device))
    own = matrix.to_local().index_select(1, places.to(matrix.device))
    shape = torch.Size([len(matrix), len(places)])
    return DTensor.from_local(
        own, matrix.device_mesh, matrix.placements, shape=shape, stride=(len(places), 1)
    ).full_tensor()


def shard(model: Any, device: torch.device) -> None:
    """Leave each process a part of a model that is only read; on a GPU's machine in the host's memory.

    A layer's parts come together on the device when it computes, and the next layer's meanwhile.
    """
    policy = CPUOffloadPolicy() if device.type == "cuda" else OffloadPolicy()
    layers = [own for own in model.modules() if isinstance(own, GradientCheckpointingLayer)]
    for own in [*layers, model]:
        # True for the model itself as well, which would keep embedding and head by default, for a backward
        fully_shard(own, offload_policy=policy, reshard_after_forward=True)


def within(model: Any, function: Callable[..., Result], *given: Any) -> Result:
    """What a function returns that calls a part of the model: a sharded one is told of a forward of its own first."""
    return _ForwardRedirection()(model, model, function, *given) if is_sharded(model) else function(*given)
