"""How a model makes logits of its last hidden states, and what a student's head learns."""

from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from peft.tuners.lora import LoraLayer

from polymath.heads import logit_scale, logit_softcap
from polymath.sharding import whole


@dataclass(frozen=True)
class Head:
    """How a model makes logits of its last hidden states."""

    weight_VH: torch.Tensor
    bias_V: torch.Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None

    @classmethod
    def of(cls, model: Any, module: Any = None) -> "Head":
        """A model's as it is now: an adapter may train rows of it, and adapters are switched.

        `module` is what holds the weight, where that is another one.
        """
        module, config = module or model.get_output_embeddings(), model.config.get_text_config()
        if isinstance(module, LoraLayer):
            raise ValueError("an adapter changes the head: take lm_head out of target_modules")
        bias = getattr(module, "bias", None)
        return cls(
            whole(module.weight), None if bias is None else whole(bias), logit_scale(config), logit_softcap(config)
        )

    def to(self, device: torch.device) -> "Head":
        """The same on a device."""
        bias = None if self.bias_V is None else self.bias_V.to(device, non_blocking=True)
        return replace(self, weight_VH=self.weight_VH.to(device, non_blocking=True), bias_V=bias)

    def copied(self) -> "Head":
        """The same in memory of its own, pinned where there is a GPU."""
        weight = self.weight_VH.detach().clone()
        bias = None if self.bias_V is None else self.bias_V.detach().clone()
        return replace(self, weight_VH=weight.pin_memory() if torch.cuda.is_available() else weight, bias_V=bias)

    def logits(self, hidden_NH: torch.Tensor) -> torch.Tensor:
        """Before `scale` and `softcap`, `[N, V]`, of states that have the weight's type."""
        return torch.nn.functional.linear(hidden_NH, self.weight_VH, self.bias_V)


class HeadGradients:
    """What a student's head learns from several calls of `divergence`, gathered in one place while they compute.

    It is as large as the head, in float32, and each call's own would stay there until all have their turn in the
    backward pass.
    """

    def __init__(self, head: Head) -> None:
        learns = torch.is_grad_enabled()
        self.head, self._weight_VH, self._bias_V = head, None, None
        self._of_weight = learns and head.weight_VH.requires_grad
        self._of_bias = learns and head.bias_V is not None and head.bias_V.requires_grad

    def add(self, of_logits_NV: torch.Tensor, hidden_NH: torch.Tensor) -> None:
        """What the gradient of some tokens' logits makes of the weight's and of the bias's."""
        if self._of_weight:
            own = of_logits_NV.T @ hidden_NH
            self._weight_VH = own.float() if self._weight_VH is None else self._weight_VH.add_(own)
        if self._of_bias:
            own = of_logits_NV.sum(0)
            self._bias_V = own.float() if self._bias_V is None else self._bias_V.add_(own)

    def attached(self, loss: torch.Tensor) -> torch.Tensor:
        """The calls' losses, summed, with the gradient to the head that they have not by themselves."""
        if self._weight_VH is None and self._bias_V is None:
            return loss
        weight_VH, bias_V = self.head.weight_VH, self.head.bias_V
        return cast(Any, _Attached.apply(loss, weight_VH, bias_V, self._weight_VH, self._bias_V))


class _Attached(torch.autograd.Function):
    """A loss as it is, with gradients that are known, for an incoming one of 1."""

    @staticmethod
    def forward(
        ctx: Any,
        loss: torch.Tensor,
        weight_VH: torch.Tensor,
        bias_V: torch.Tensor | None,
        *grads: torch.Tensor | None,
    ) -> torch.Tensor:
        ctx.save_for_backward(*grads)
        ctx.types = [getattr(own, "dtype", None) for own in (weight_VH, bias_V)]
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, *incoming: torch.Tensor) -> Any:
        grads = zip(ctx.saved_tensors, ctx.types, strict=True)
        own = [None if grad is None else (grad * incoming[0]).to(dtype) for grad, dtype in grads]
        return incoming[0], *own, None, None
