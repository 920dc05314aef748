"""Sequences of different lengths as one row, without padding: what the learner's forward and backward run on.

    ids      [1, N]    all sequences one after the other
    offsets  [B + 1]   where each begins, and where the last one ends
    attention          within each sequence, causal: a kernel for variable lengths where there is one

Everything but attention works on tokens one by one, and so takes as long as there are tokens, not as the longest
sequence times their number.
"""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Any, cast

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, eager_mask, sdpa_mask
from transformers.modeling_layers import GradientCheckpointingLayer

NAME = "polymath_packed"  # under which transformers knows the attention
LAYER_TYPES = {"full_attention", "sliding_attention"}
SPREAD = 7919  # a prime: its multiples come by every part of a vocabulary
UNFIT = "this model cannot be trained on what it samples, for sequences are packed here, and it"


@dataclass(frozen=True)
class Packed:
    """The tokens of a padded batch `[B, T]` that are not padding."""

    ids: torch.Tensor  # [1, N]
    positions: torch.Tensor  # [1, N], from 0 in each sequence
    offsets: torch.Tensor  # [B + 1], int32
    longest: int
    mask_BT: torch.Tensor  # where in the batch they stand

    @classmethod
    def of(cls, ids_BT: torch.Tensor, mask_BT: torch.Tensor) -> "Packed":
        """`mask_BT` is 1 at tokens; they are contiguous in each row, at whichever side the padding stands."""
        mask_BT = mask_BT.bool()
        lengths_B = mask_BT.sum(1)
        offsets = torch.nn.functional.pad(lengths_B.cumsum(0), (1, 0)).int()
        positions_BT = mask_BT.cumsum(1) - 1
        return cls(ids_BT[mask_BT][None], positions_BT[mask_BT][None], offsets, int(lengths_B.max()), mask_BT)

    @classmethod
    def of_lists(cls, rows: Sequence[list[int]], device: torch.device) -> "Packed":
        """The same of rows that were never padded."""
        longest = max(map(len, rows))
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=device)
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=device)
        return cls.of(ids, mask)

    def inputs(self) -> dict[str, Any]:
        """Arguments of a model's forward.

        A mask of four dimensions is passed on as it is, and none is built; a balance of experts counts its ones.
        """
        return {
            "input_ids": self.ids,
            "position_ids": self.positions,
            "attention_mask": self.ids.new_ones(1, 1, *self.ids.shape),
            "cu_seq_lens_q": self.offsets,
            "cu_seq_lens_k": self.offsets,
            "max_length_q": self.longest,
            "max_length_k": self.longest,
            "use_cache": False,
        }

    def padded(self, values_N: torch.Tensor) -> torch.Tensor:
        """Values of the tokens `[1, N, ...]` at their places in the batch `[B, T, ...]`, 0 elsewhere."""
        out = values_N.new_zeros(*self.mask_BT.shape, *values_N.shape[2:])
        out[self.mask_BT] = values_N[0]
        return out


def backbone(model: Any) -> Any:
    """What computes a model's last hidden states, with the adapter that is active."""
    whole = model.get_base_model() if hasattr(model, "get_base_model") else model
    return whole.base_model


def takes_packed(model: Any) -> bool:
    """Whether its attention knows the offsets of packed sequences."""
    return model.config._attn_implementation in (NAME, "flash_attention_2", "flash_attention_3")


def logits_of_ends(model: Any, rows: Sequence[list[int]], counts: Sequence[int]) -> torch.Tensor:
    """Logits `[N, V]` that the last `counts[i]` tokens of each row are drawn from, one row's after the other's.

    Packed where the model takes that, and so by the layers that training has compiled; else each row by itself.
    """
    if takes_packed(model):
        ends = accumulate(map(len, rows))
        places = [place for end, count in zip(ends, counts, strict=True) for place in range(end - count - 1, end - 1)]
        own = Packed.of_lists(rows, model.device)
        return model(**own.inputs(), logits_to_keep=torch.tensor(places, device=model.device)).logits[0]
    parts = [
        model(torch.tensor([row], device=model.device), use_cache=False, logits_to_keep=count + 1).logits[0, :-1]
        for row, count in zip(rows, counts, strict=True)
    ]
    return torch.cat(parts)


def use_packed_attention(model: Any) -> None:
    """Let a model take packed inputs besides padded ones, which it treats as before.

    ValueError where packing would change what it computes: some mix tokens outside of attention, and some give their
    attention more to do than this one does.
    """
    if takes_packed(model):
        return
    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, sdpa_mask if torch.cuda.is_available() else eager_mask)
    if foreign := set(getattr(model.config.get_text_config(), "layer_types", None) or ()) - LAYER_TYPES:
        raise ValueError(f"{UNFIT} has layers of the type {sorted(foreign)[0]}")
    model.set_attn_implementation("eager")
    alone = _logprobs_of_some(model, packed=False)
    model.set_attn_implementation(NAME)
    apart = (_logprobs_of_some(model, packed=True) - alone).abs().mean().item()
    has_autocast = hasattr(model, "_original_forward")  # accelerate keeps it where it puts its own around it
    if not apart <= (1e-2 if model.dtype == torch.float32 and not has_autocast else 0.2):
        raise ValueError(f"{UNFIT} gives its attention sinks, caps or the like: packed, it is {apart:.2g} nats off")


@torch.no_grad()
def _logprobs_of_some(model: Any, packed: bool) -> torch.Tensor:
    """Of two short rows, one after the other or together, `[N, V]`.

    Their tokens are from all over the vocabulary: among the first ones are tokens of formats, which training may never
    have shown, and after which a model in bfloat16 is chaos.
    """
    size = model.config.get_text_config().vocab_size
    rows = [[place * SPREAD % size for place in own] for own in (range(1, 6), range(7, 16))]
    training = model.training
    model.eval()
    inputs = [Packed.of_lists(own, model.device).inputs() for own in ([rows] if packed else [[row] for row in rows])]
    if not packed:
        inputs = [{"input_ids": own["input_ids"], "use_cache": False} for own in inputs]
    out = torch.cat([model(**own).logits[0].float().log_softmax(-1) for own in inputs])
    model.train(training)
    return out


@contextmanager
def without_dropout(model: Any) -> Iterator[None]:
    """As an engine computes, which drops nothing out; a walk over all modules is left out where none would."""
    configs = [model.config.get_text_config(), *getattr(model, "peft_config", {}).values()]
    noise = [value for own in configs for name, value in vars(own).items() if "drop" in name or "jitter" in name]
    if not (model.training and any(isinstance(value, float) and value for value in noise)):
        yield
        return
    model.eval()
    try:
        yield
    finally:
        model.train()


def leave_types_to_autocast(model: Any) -> None:
    """PEFT makes every input of an adapter float32, which autocast then makes bfloat16 again: twice for nothing."""
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            setattr(module, "cast_input_dtype_enabled", False)  # noqa: B010


def compile_layers(model: Any) -> None:
    """Compile each decoder layer, for any number of tokens: fewer launches, which is what small models wait for."""
    for module in model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.compile(dynamic=True)


def _attention(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: Any, **kwargs: Any
) -> tuple[torch.Tensor, None]:
    """`[B, heads, T, D]` each, packed where offsets are given (B = 1); the output is `[B, T, heads, D]`."""
    offsets, scaling = kwargs.get("cu_seq_lens_q"), kwargs["scaling"]
    if offsets is None and query.is_cuda:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)[0], None
    if offsets is None:
        return _by_products(query, key, value, attention_mask, scaling), None
    spans = _Spans(offsets, kwargs["max_length_q"], scaling, kwargs.get("sliding_window"))
    dtype = torch.get_autocast_dtype(query.device.type) if torch.is_autocast_enabled(query.device.type) else value.dtype
    if query.is_cuda and dtype != torch.float32:
        query, key, value = (x[0].transpose(0, 1).to(dtype) for x in (query, key, value))
        return _by_kernel(query, key, value, spans)[None], None
    return _row_by_row(query, key, value, spans), None


@dataclass(frozen=True)
class _Spans:
    """Who attends to whom, and how sharply."""

    offsets: torch.Tensor  # [B + 1]
    longest: int
    scaling: float
    window: int | None  # tokens back, itself among them


@cache
def takes_groups() -> bool:
    """Whether torch's packed kernel reads keys that several heads share; else each head has a copy (torch 2.11)."""
    from torch.nn.attention.varlen import varlen_attn

    return "enable_gqa" in inspect.signature(varlen_attn).parameters


def _by_kernel(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, spans: _Spans) -> torch.Tensor:
    """FlashAttention for variable lengths as torch has it; `[N, heads, D]` in and out."""
    from torch.nn.attention.varlen import varlen_attn

    known = inspect.signature(varlen_attn).parameters  # torch 2.11 and 2.13 differ
    if takes_groups():
        settings: dict[str, Any] = {"enable_gqa": True}
    else:
        settings = {}
        key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], dim=1) for x in (key, value))
    if "window_size" in known:
        settings["window_size"] = (-1 if spans.window is None else spans.window - 1, 0)
    elif spans.window is None:
        settings["is_causal"] = True
    else:
        raise ValueError("this torch has no sliding window in its packed attention: take torch 2.13")
    ends = (spans.offsets, spans.offsets, spans.longest, spans.longest)
    return cast(torch.Tensor, varlen_attn(query, key, value, *ends, scale=spans.scaling, **settings))


def _row_by_row(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, spans: _Spans) -> torch.Tensor:
    """Without a kernel: a row for each sequence, padded at the end, where causality hides it."""
    lengths = spans.offsets.diff()
    rows = torch.repeat_interleave(torch.arange(len(lengths), device=query.device), lengths)
    columns = torch.arange(query.shape[2], device=query.device) - spans.offsets[:-1].repeat_interleave(lengths)

    def unpacked(x: torch.Tensor) -> torch.Tensor:
        out = x.new_zeros(len(lengths), spans.longest, x.shape[1], x.shape[3])
        return out.index_put((rows, columns), x[0].transpose(0, 1)).transpose(1, 2)

    place = torch.arange(spans.longest, device=query.device)
    distance = place[:, None] - place[None, :]
    hidden = (distance < 0) | (distance >= (spans.window or spans.longest))
    mask = torch.zeros_like(hidden, dtype=query.dtype).masked_fill(hidden, torch.finfo(query.dtype).min)
    out = _by_products(unpacked(query), unpacked(key), unpacked(value), mask, spans.scaling)
    return out[rows, columns][None]


def _by_products(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, scaling: float
) -> torch.Tensor:
    """Two matrix products and a softmax; on a CPU its backward is faster than the fused one's on short rows."""
    groups = query.shape[1] // key.shape[1]
    scores = query @ repeat_kv(key, groups).transpose(2, 3) * scaling
    if mask is not None:
        scores = scores + mask
    weights = scores.softmax(-1, dtype=torch.float32).to(value.dtype)
    return (weights @ repeat_kv(value, groups)).transpose(1, 2)
