"""Two processes, each with a part of a teacher: what it says is what it says in one."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor
from torch.multiprocessing.spawn import spawn
from transformers import Qwen3Config, Qwen3ForCausalLM

from distill.states import states_before
from distill.teachers import ShardedTeacher
from polymath.packed import use_packed_attention
from polymath.sharding import columns, is_sharded, whole

V = 61


def tiny() -> Any:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 16}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "initializer_range": 0.3}
    return Qwen3ForCausalLM(Qwen3Config(vocab_size=V, tie_word_embeddings=True, **sizes, **heads)).eval()


def batch_of(rows: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(rows)
    prompt, completion = torch.randint(0, V, (rows, 3)), torch.randint(0, V, (rows, 5))
    ones = torch.ones_like(completion)
    return {
        "prompt_ids": prompt, "prompt_mask": torch.ones_like(prompt), "completion_ids": completion,
        "completion_mask": ones, "tool_mask": ones,
    }  # fmt: skip


def is_part(parameter: torch.Tensor) -> bool:
    return isinstance(parameter, DTensor)


def in_a_process(rank: int, rendezvous: str, out: str) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    device = torch.device("cpu")
    teacher = ShardedTeacher(["one"], tiny().requires_grad_(False), device)
    matrix = teacher.model.model.layers[0].mlp.up_proj.weight
    with teacher.active():
        states = [teacher.states(batch_of(rows), ["one"] * rows) for rows in (1 + rank, 3)]  # each its own rows
    torch.save(
        {
            "parts": [is_part(own) for own in teacher.model.parameters()], "states": states, "head": teacher.head("one").weight_VH, "is_sharded": is_sharded(teacher.model),
            "held": matrix.to_local().numel(), "whole": whole(matrix), "columns": columns(matrix, torch.tensor([3, 17])),
        },
        f"{out}/{rank}.pt",
    )  # fmt: skip
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes found."""
    folder: Path = tmp_path_factory.mktemp("sharded")
    spawn(in_a_process, (str(folder / "meet"), str(folder)), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def test_a_part_of_a_teacher_says_what_all_of_it_says(told: list[dict[str, Any]]) -> None:
    alone = tiny()
    use_packed_attention(alone)
    for rank, own in enumerate(told):
        for rows, got in zip((1 + rank, 3), own["states"], strict=True):
            with torch.no_grad():
                assert torch.allclose(got, states_before(alone, batch_of(rows)), atol=1e-6)
        assert torch.equal(own["head"], alone.lm_head.weight)


def test_each_process_holds_half_and_can_see_all(told: list[dict[str, Any]]) -> None:
    matrix = tiny().model.layers[0].mlp.up_proj.weight
    for own in told:
        assert own["is_sharded"] and own["held"] == matrix.numel() // 2 and all(own["parts"])
        assert torch.equal(own["whole"], matrix) and torch.equal(own["columns"], matrix[:, [3, 17]])
