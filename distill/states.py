"""Last hidden states at what a student wrote: of itself, and of its teachers."""

from typing import Any

import torch

from polymath.packed import Packed, backbone
from polymath.rollouts import Batch
from polymath.sharding import is_sharded


def written(batch: Batch) -> torch.Tensor:
    """`[B, T]`: 1 at the tokens that the student wrote, 0 at padding and at what tools answered."""
    return batch["completion_mask"] * batch["tool_mask"]


def tokens_of_rows(batch: Batch) -> torch.Tensor:
    """`[B]`: of prompt and completion together."""
    return batch["prompt_mask"].sum(1) + batch["completion_mask"].sum(1)


def states_before(model: Any, batch: Batch) -> torch.Tensor:
    """Last hidden states `[N, H]` of the tokens before those that the student wrote, which predict them; row by row."""
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    packed = Packed.of(ids, torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1))
    width = batch["prompt_ids"].shape[1]
    predicts = torch.nn.functional.pad(written(batch), (width - 1, 1)).bool()
    hidden = backbone(model)(**packed.inputs()).last_hidden_state[0]
    if is_sharded(model):  # a sharded head comes with its forward, and is let go when all of it was called
        model.get_output_embeddings()(hidden[:0])
    return hidden[predicts[packed.mask_BT]]
