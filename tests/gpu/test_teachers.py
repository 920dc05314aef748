"""Teachers' weights on a GPU: there while they score, and at no other time."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import Qwen3Config, Qwen3ForCausalLM

from distill.head import Head
from distill.states import states_before
from distill.teachers import load_teachers
from polymath.packed import use_packed_attention

pytestmark = pytest.mark.gpu
V, MIB = 20_000, 2**20


def saved(folder: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    sizes: dict[str, Any] = {"hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 4, "head_dim": 64}
    config = Qwen3Config(vocab_size=V, num_attention_heads=8, num_key_value_heads=4, initializer_range=0.1, **sizes)
    model: Any = Qwen3ForCausalLM(config)
    model.to(torch.bfloat16).save_pretrained(folder)
    return folder.resolve()


def read(folder: Path) -> Any:
    model: Any = Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    return model.to("cuda")


def batch_of(rows: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(9)
    prompt, completion = (torch.randint(0, V, (rows, size), device="cuda") for size in (12, 30))
    masks = {"completion_mask": torch.ones_like(completion), "tool_mask": torch.ones_like(completion)}
    return {"prompt_ids": prompt, "prompt_mask": torch.ones_like(prompt), "completion_ids": completion, **masks}


@torch.no_grad()
def test_whole_teachers_come_and_go(tmp_path: Path) -> None:
    folders = {name: saved(tmp_path / name, seed) for seed, name in enumerate(("math", "agent", "code"))}
    student = read(folders["math"])
    student(torch.zeros(1, 8, dtype=torch.long, device="cuda"))  # from now on there is room for products to work in
    used = torch.cuda.memory_allocated()
    teachers = load_teachers(student, tmp_path, folders, "bfloat16", torch.device("cuda"))
    assert torch.cuda.memory_allocated() - used < MIB
    weights = sum(own.numel() for own in student.parameters()) * 2
    for _ in range(3):  # what the first round left must not be read by the second
        for own, following in zip(teachers, [*teachers[1:], None], strict=True):
            with own.active():
                if following is not None:
                    following.fetch()
                got = own.states(batch_of(8), own.teacher_ids * 8)
                torch.empty(weights // 2, dtype=torch.int16, device="cuda").fill_(-1)  # takes what is free
            alone = read(folders[own.teacher_ids[0]])
            use_packed_attention(alone)
            assert torch.equal(got, states_before(alone, batch_of(8)))
            assert torch.equal(own.head(own.teacher_ids[0]).weight_VH, Head.of(alone).weight_VH)
            del alone
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    for own in teachers:
        with own.active():
            own.states(batch_of(8), own.teacher_ids * 8)
    assert torch.cuda.max_memory_allocated() - used < 1.5 * weights
    assert torch.cuda.memory_allocated() - used < MIB * 8


@torch.no_grad()
def test_adapters_score_as_peft_does(tmp_path: Path) -> None:
    base, folders = saved(tmp_path / "base", 0), {}
    for seed in range(8):
        torch.manual_seed(seed)
        teacher = get_peft_model(read(base), LoraConfig(r=16, target_modules="all-linear", init_lora_weights=False))
        folders[f"teacher{seed}"] = tmp_path / f"teacher{seed}"
        teacher.save_pretrained(str(folders[f"teacher{seed}"]))
    student = get_peft_model(read(base), LoraConfig(r=16, target_modules="all-linear"))
    use_packed_attention(student)
    (teachers,) = load_teachers(student, base, folders, "bfloat16", torch.device("cuda"), torch.bfloat16)
    used = torch.cuda.memory_allocated()
    with teachers.active(), torch.autocast("cuda", torch.bfloat16):
        got = teachers.states(batch_of(16), [f"teacher{place // 2}" for place in range(16)])
    assert torch.cuda.memory_allocated() - used - got.nbytes < MIB * 8
    for place in range(0, 16, 5):
        model = get_peft_model(read(base), LoraConfig(r=16, target_modules="all-linear"))
        model.load_adapter(str(folders[f"teacher{place // 2}"]), "own")
        model.set_adapter("own")
        use_packed_attention(model)
        model.eval()
        with torch.autocast("cuda", torch.bfloat16):
            due = states_before(model, {key: value[place : place + 1] for key, value in batch_of(16).items()})
        own = got[place * 30 : place * 30 + 30]
        assert (own - due).float().norm() < 0.03 * due.float().norm()
