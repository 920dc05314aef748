"""What a learner takes for one micro-batch, counted on tensors that have shapes and types and no content.

The model is the real one, with its adapter, its autocast and its checkpointing; every operation of a forward and a
backward is carried out on torch's fake tensors, and the bytes of what is alive are added up. No GPU is asked. Where
all layers are alike a few of them are carried out, and the rest is a straight line: see `polymath.planning.depth`.
"""

import weakref
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
from peft import LoraConfig as PeftLoraConfig
from peft import get_peft_model
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AttentionInterface, AutoModelForCausalLM, PretrainedConfig
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS
from transformers.masking_utils import AttentionMaskInterface

from polymath.packed import backbone, leave_types_to_autocast, takes_groups
from polymath.planning.depth import Pass, pass_of
from polymath.planning.memory import Learner, Moment
from polymath.training import check_targets

BLOCK = 512  # bytes that torch's allocator on a GPU rounds up to
NOTHING, CPU = Moment(0, 0), torch.device("cpu")
KERNEL = "polymath_kernel"  # under which transformers knows attention and experts here


@dataclass(frozen=True)
class MicroBatch:
    """Rows of one length; packed, as what is sampled, or with a mask, as demonstrations are."""

    rows: int
    length: int
    packed: bool
    accumulates: bool  # onto the gradients of others


@dataclass(frozen=True)
class Training:
    """How a model is trained."""

    dtype: torch.dtype
    lora: PeftLoraConfig | None
    bf16: bool
    checkpointing: bool
    on_gpu: bool
    four_bits: bool = False  # of linear layers, while an adapter trains


class Alive(TorchDispatchMode):
    """Bytes of the storages that were made within it and are still there, and the most there were.

    The most is told for each part of a pass, and a part ends with the gradient of a parameter.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.now = self.gradients = 0
        self.peaks = [NOTHING]
        self._known = {own.untyped_storage()._cdata for own in (*model.parameters(), *model.buffers())}
        self._counted: dict[int, weakref.ref[Any]] = {}  # by address, for as long as one is there
        for parameter in model.parameters():
            if parameter.grad is not None:
                self.gradients += _bytes(parameter)
                self._count(parameter.grad.untyped_storage())
            if parameter.requires_grad:
                own = 0 if parameter.grad is not None else _bytes(parameter)
                parameter.register_post_accumulate_grad_hook(partial(self._note_gradient, size=own))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.prim.device.default:  # asked more often than all else, and slow to be answered
            return CPU
        out = func(*args, **(kwargs or {}))
        for leaf in out if isinstance(out, tuple | list) else (out,):
            if isinstance(leaf, torch.Tensor):
                self._count(leaf.untyped_storage())
        return out

    @property
    def fullest(self) -> Moment:
        """The most there were."""
        return max(self.peaks, key=Moment.total)

    def begin_part(self) -> None:
        """What comes is apart from what was."""
        self.peaks.append(NOTHING)

    def _note_gradient(self, parameter: torch.Tensor, size: int) -> None:
        self.gradients += size
        self.begin_part()

    def _count(self, storage: Any) -> None:
        address = storage._cdata
        if address in self._known or address in self._counted:
            return
        size = -(-storage.nbytes() // BLOCK) * BLOCK

        def gone(_: Any) -> None:
            del self._counted[address]
            self.now -= size

        self._counted[address] = weakref.ref(storage, gone)
        self.now += size
        if self.now > self.peaks[-1].total():
            self.peaks[-1] = Moment(self.now - self.gradients, self.gradients)


def trace(config: PretrainedConfig, training: Training, batch: MicroBatch | None) -> Learner:
    """The bytes of a learner of this architecture, the product with its head and the loss left out.

    Without a micro-batch nothing is learned, and nothing is there but weights.
    """
    base = _build(config, training, batch is not None and batch.packed)
    size, linear = sum(parameter.numel() for parameter in base.parameters()), _linear_parameters(base)
    weights = sum(map(_bytes, base.parameters()))
    model = _prepared(base, training)
    learner = Learner(
        parameters=size,
        linear=linear,
        weights=weights,
        adapter=sum(map(_bytes, model.parameters())) - weights,
        trained=sum(_bytes(parameter) for parameter in model.parameters() if parameter.requires_grad),
        kept=0,
        backward=NOTHING,
    )
    if batch is None:
        return learner
    found = pass_of(model, partial(_carried_out, training=training, batch=batch))
    return replace(learner, kept=found.kept, backward=found.fullest())


def _carried_out(model: Any, training: Training, batch: MicroBatch) -> Pass:
    """A forward and a backward; gradients of others, onto which they are added, are there before."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        _materialise(model)
        for parameter in backbone(model).parameters() if batch.accumulates else ():
            parameter.grad = torch.empty_like(parameter) if parameter.requires_grad else None
        with Alive(model) as alive:
            hidden = _forward(model, training, batch)
            kept = alive.now - alive.gradients
            alive.begin_part()
            hidden.backward(torch.empty_like(hidden))
    return Pass(kept, alive.peaks)


def _build(config: PretrainedConfig, training: Training, packed: bool) -> Any:
    """The model, without content."""
    AttentionInterface.register(KERNEL, _attention)
    AttentionMaskInterface.register(KERNEL, lambda *_, **__: None)
    ALL_EXPERTS_FUNCTIONS.register(KERNEL, _experts)
    kernel = KERNEL if packed else "sdpa"
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            config,
            dtype=training.dtype,
            attn_implementation=kernel if training.on_gpu else "eager",
            experts_implementation=KERNEL,
        )
    for module in model.modules() if training.four_bits else ():
        if type(module) is torch.nn.Linear and module is not model.get_output_embeddings():
            module.__class__ = _FourBits
            cast(_FourBits, module).products = torch.bfloat16 if training.bf16 else torch.float32
    return model


class _FourBits(torch.nn.Linear):
    """As bitsandbytes computes: what comes out has the type of what came in."""

    products: torch.dtype

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return _FourBitProduct.apply(input.to(self.products), self.weight).to(input.dtype).clone()  # PEFT clones it


class _FourBitProduct(torch.autograd.Function):
    """Nothing is kept for the backward; there is a matrix in the type of products for as long as it is multiplied."""

    @staticmethod
    def forward(ctx: Any, input: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.weight = weight
        return input @ weight.to(input.dtype).T

    @staticmethod
    def backward(ctx: Any, *incoming: torch.Tensor) -> Any:
        return incoming[0] @ ctx.weight.to(incoming[0].dtype), None


def _prepared(model: Any, training: Training) -> Any:
    """As a stage prepares it."""
    if training.lora:
        check_targets(training.lora, model)
        model = get_peft_model(model, training.lora, low_cpu_mem_usage=True)
        leave_types_to_autocast(model)
    if training.four_bits:  # TRL's trainers make such an adapter bfloat16
        for parameter in model.parameters():
            parameter.data = parameter.data.to(torch.bfloat16) if parameter.requires_grad else parameter.data
    if training.checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    return model.train()


def _materialise(model: Any) -> None:
    """Put fake tensors in the places of what has no content at all, which no autocast is for."""
    made: dict[int, torch.Tensor] = {}  # what is tied stays so

    def own(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in made:
            empty = torch.empty(tensor.shape, dtype=tensor.dtype)
            is_parameter = isinstance(tensor, torch.nn.Parameter)
            made[id(tensor)] = torch.nn.Parameter(empty, tensor.requires_grad) if is_parameter else empty
        return made[id(tensor)]

    for module in model.modules():
        for table in (module._parameters, module._buffers):
            table.update({name: own(tensor) for name, tensor in table.items() if tensor is not None})


def _forward(model: Any, training: Training, batch: MicroBatch) -> torch.Tensor:
    """The last hidden states."""
    ids = torch.zeros(batch.rows, batch.length, dtype=torch.long)
    given = {} if batch.packed else {"attention_mask": torch.ones_like(ids)}
    with torch.autocast("cpu", torch.bfloat16, enabled=training.bf16):
        hidden: torch.Tensor = backbone(model)(input_ids=ids, use_cache=False, **given)[0]
    return hidden


def _attention(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **kwargs: Any) -> Any:
    """A kernel that keeps what it was given and no scores, as the one for packed sequences does."""
    if not takes_groups():
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else value.dtype
        groups = query.shape[1] // key.shape[1]
        query, key, value = query.to(dtype), *(x.to(dtype).repeat_interleave(groups, dim=1) for x in (key, value))
    out = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, is_causal=True, scale=kwargs["scaling"], enable_gqa=True
    )
    return out.transpose(1, 2).contiguous(), None


def _experts(self: Any, hidden: Any, top_k_index: Any, top_k_weights: Any) -> Any:
    """As much as a grouped product keeps and makes, whichever experts the rows go to; autocast does not reach it."""
    count = top_k_index.shape[-1]
    first, last = self.gate_up_proj if self.has_gate else self.up_proj, self.down_proj
    with torch.autocast("cpu", enabled=False):
        rows = hidden.repeat_interleave(count, 0).to(first.dtype)
        inner = rows @ (first[0] if self.is_transposed else first[0].T)
        inner = self._apply_gate(inner) if self.has_gate else self.act_fn(inner)
        out = inner.to(last.dtype) @ (last[0] if self.is_transposed else last[0].T)
    return (out * top_k_weights.reshape(-1, 1)).view(-1, count, out.shape[-1]).sum(1).to(hidden.dtype)


def _linear_parameters(model: Any) -> int:
    """How many are in linear layers but for a head that is the embedding."""
    tied = model.get_input_embeddings().weight
    weights = [module.weight for module in model.modules() if isinstance(module, torch.nn.Linear)]
    return sum(weight.numel() for weight in weights if weight is not tied)


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.itemsize
