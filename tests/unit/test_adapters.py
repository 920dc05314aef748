"""LoRA teachers that score in one pass, against PEFT's own models, one after the other."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from distill.adapters import AdapterTeachers, is_plain
from distill.head import Head
from distill.states import states_before
from distill.teachers import ModelTeacher, load_teachers
from polymath import models
from polymath.packed import use_packed_attention

V = 60
SETTINGS: dict[str, dict[str, Any]] = {
    "all": {"r": 4, "target_modules": "all-linear"},
    "few": {"r": 2, "lora_alpha": 32, "target_modules": ["q_proj", "down_proj"], "use_rslora": True},
    "first": {"r": 8, "target_modules": ["v_proj"], "layers_to_transform": [0]},
    "rows": {"r": 3, "target_modules": "all-linear", "trainable_token_indices": [7, 50]},
}


def base_model(folder: Path, tied: bool) -> Path:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 16}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "initializer_range": 0.3}
    config = Qwen3Config(vocab_size=V, tie_word_embeddings=tied, **sizes, **heads)
    Qwen3ForCausalLM(config).save_pretrained(folder)
    return folder.resolve()


def adapter(base: Path, folder: Path, seed: int, **settings: Any) -> Path:
    torch.manual_seed(seed)
    model = get_peft_model(Qwen3ForCausalLM.from_pretrained(base), LoraConfig(init_lora_weights=False, **settings))
    for name, parameter in model.named_parameters():
        if "trainable_tokens" in name:
            parameter.data += torch.randn_like(parameter)
    model.save_pretrained(str(folder))
    return folder


def packed(model: Any) -> Any:
    use_packed_attention(model)
    return model.eval()


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, Path], PeftModel]:
    base = base_model(tmp_path / "base", request.param)
    settings = {name: dict(own) for name, own in SETTINGS.items()}
    if not request.param:
        settings["rows"]["trainable_token_indices"] = {"embed_tokens": [7, 50], "lm_head": [8]}
    folders = {name: adapter(base, tmp_path / name, seed, **own) for seed, (name, own) in enumerate(settings.items())}
    rows = {"embed_tokens": [7, 9]} if request.param else {"embed_tokens": [7], "lm_head": [9]}
    own = LoraConfig(
        init_lora_weights=False, target_modules=["q_proj", "up_proj"], lora_dropout=0.5, trainable_token_indices=rows
    )
    student = get_peft_model(Qwen3ForCausalLM.from_pretrained(base), own)
    use_packed_attention(student)
    return base, folders, student.train()


def batch_of(rows: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    prompt, completion = torch.randint(0, V, (rows, 6)), torch.randint(0, V, (rows, 7))
    completion[:, 1], prompt[:, 5] = 7, 50  # trained by some
    lengths = torch.randint(1, 8, (rows, 1))
    mask = (torch.arange(7)[None] < lengths).long()
    prompt_mask = (torch.arange(6)[None] >= torch.randint(0, 5, (rows, 1))).long()
    tool_mask = torch.ones_like(mask)
    tool_mask[:, 2] = 0
    return {
        "prompt_ids": prompt,
        "prompt_mask": prompt_mask,
        "completion_ids": completion,
        "completion_mask": mask,
        "tool_mask": tool_mask,
    }


@pytest.mark.parametrize(
    "ids", [["all", "all", "few", "first", "first", "rows", "rows"], ["rows", "all", "rows", "few", "all"], ["few"]]
)
def test_each_row_is_scored_by_its_own_adapter(world: Any, ids: list[str]) -> None:
    base, folders, student = world
    (teachers,) = load_teachers(student, base, folders, "float32", torch.device("cpu"))
    assert isinstance(teachers, AdapterTeachers) and teachers.teacher_ids == list(folders)
    batch, state = batch_of(len(ids)), {name: (p.requires_grad, p.clone()) for name, p in student.named_parameters()}
    with teachers.active():
        got = teachers.states(batch, ids)
    due = []
    for row, name in enumerate(ids):
        alone = packed(PeftModel.from_pretrained(Qwen3ForCausalLM.from_pretrained(base), str(folders[name])))
        with torch.no_grad():
            due.append(states_before(alone, {key: own[row : row + 1] for key, own in batch.items()}))
        assert torch.equal(teachers.head(name).weight_VH, Head.of(alone).weight_VH)
    assert torch.allclose(got, torch.cat(due), atol=1e-5)
    assert student.training and student.active_adapter == "default"
    assert all(
        p.requires_grad == state[name][0] and torch.equal(p, state[name][1]) for name, p in student.named_parameters()
    )
    assert not any(module._forward_hooks for module in student.modules())


def test_embeddings_that_a_model_scales(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 16}
    config = Gemma3TextConfig(
        vocab_size=V, num_attention_heads=2, num_key_value_heads=1, initializer_range=0.3, **sizes
    )
    Gemma3ForCausalLM(config).save_pretrained(tmp_path / "base")

    def read() -> Any:
        return Gemma3ForCausalLM.from_pretrained(tmp_path / "base")

    teacher = get_peft_model(read(), LoraConfig(init_lora_weights=False, **SETTINGS["rows"]))
    for name, parameter in teacher.named_parameters():
        if "trainable_tokens" in name:
            parameter.data += 0.5
    teacher.save_pretrained(str(tmp_path / "teacher"))
    student = get_peft_model(read(), LoraConfig(target_modules=["q_proj"]))
    use_packed_attention(student)
    base = (tmp_path / "base").resolve()
    (teachers,) = load_teachers(student, base, {"math": tmp_path / "teacher"}, "float32", torch.device("cpu"))
    with teachers.active():
        got = teachers.states(batch_of(3), ["math"] * 3)
    with torch.no_grad():
        due = states_before(packed(PeftModel.from_pretrained(read(), str(tmp_path / "teacher"))), batch_of(3))
    assert isinstance(teachers, AdapterTeachers) and torch.allclose(got, due, atol=1e-5)


def test_the_student_is_as_before_where_scoring_fails(world: Any) -> None:
    base, folders, student = world
    (teachers,) = load_teachers(student, base, folders, "float32", torch.device("cpu"))
    with pytest.raises(RuntimeError, match="no room"), teachers.active():
        raise RuntimeError("no room")
    assert student.training and not any(module._forward_hooks for module in student.modules())
    student.eval()
    with torch.no_grad():
        own = student(torch.tensor([[3, 7]])).logits
        with student.disable_adapter():
            assert not torch.allclose(own, student(torch.tensor([[3, 7]])).logits)


@pytest.mark.parametrize(
    "settings",
    [
        {"use_dora": True},
        {"rank_pattern": {"q_proj": 2}},
        {"bias": "lora_only"},
        {"modules_to_save": ["lm_head"]},
        {"target_modules": ["q_proj", "lm_head"]},
    ],
)
def test_other_adapters_are_models_of_their_own(tmp_path: Path, settings: dict[str, Any]) -> None:
    base = base_model(tmp_path / "base", False)
    folder = adapter(base, tmp_path / "other", 1, **{"target_modules": ["q_proj"], **settings})
    plain = adapter(base, tmp_path / "plain", 2, target_modules=["q_proj"])
    assert not is_plain(folder) and is_plain(plain)
    student = get_peft_model(Qwen3ForCausalLM.from_pretrained(base), LoraConfig(target_modules=["q_proj"]))
    folders = {"other": folder, "plain": plain}
    shared, alone = load_teachers(student, base, folders, "float32", torch.device("cpu"))
    assert shared.teacher_ids == ["plain"] and isinstance(alone, ModelTeacher) and alone.teacher_ids == ["other"]


def test_rows_of_a_table_of_another_name_are_no_plain_adapter(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    config = GPTNeoXConfig(vocab_size=V, num_attention_heads=2, **sizes)
    for name, rows in (("rows", [7]), ("none", None)):
        own = LoraConfig(target_modules="all-linear", trainable_token_indices=rows)
        get_peft_model(GPTNeoXForCausalLM(config), own).save_pretrained(str(tmp_path / name))
    assert is_plain(tmp_path / "none") and not is_plain(tmp_path / "rows")


def test_the_base_itself_teaches_without_a_second_copy(world: Any) -> None:
    base, folders, student = world
    (teachers,) = load_teachers(student, base, {"all": folders["all"], "start": base}, "float32", torch.device("cpu"))
    with teachers.active():
        got = teachers.states(batch_of(3), ["start", "all", "start"])
    with torch.no_grad():
        due = states_before(packed(Qwen3ForCausalLM.from_pretrained(base)), batch_of(3))
    own, others = got.split(_lengths(3)), due.split(_lengths(3))
    assert isinstance(teachers, AdapterTeachers)
    assert [torch.allclose(*pair, atol=1e-5) for pair in zip(own, others, strict=True)] == [True, False, True]
    head = Head.of(Qwen3ForCausalLM.from_pretrained(base))
    assert torch.equal(teachers.head("start").weight_VH, head.weight_VH)


def _lengths(rows: int) -> list[int]:
    batch = batch_of(rows)
    return (batch["completion_mask"] * batch["tool_mask"]).sum(1).tolist()


@pytest.mark.parametrize("tied", [True, False])
def test_what_a_teachers_adapter_adds_to_its_head_counts(tmp_path: Path, tied: bool) -> None:
    base = base_model(tmp_path / "base", tied)
    folder = adapter(base, tmp_path / "teacher", 1, target_modules=["q_proj", "lm_head"])
    student = Qwen3ForCausalLM.from_pretrained(base)
    (teacher,) = load_teachers(student, base, {"math": folder}, "float32", torch.device("cpu"))
    alone = packed(models.load_model(folder, "float32"))
    ids = torch.randint(0, V, (1, 9))
    with torch.no_grad():
        states = alone.get_base_model().model(ids).last_hidden_state[0]
        due = alone(ids).logits[0]
    assert torch.allclose(teacher.head("math").logits(states), due, atol=1e-4)
    assert not torch.allclose(Head.of(student).logits(states), due, atol=1e-2)


def test_weights_that_are_no_numbers_teach_nobody(world: Any, tmp_path: Path) -> None:
    base, folders, student = world
    broken = PeftModel.from_pretrained(Qwen3ForCausalLM.from_pretrained(base), str(folders["few"]))
    next(own for name, own in broken.named_parameters() if "lora_B" in name).data[0, 0] = torch.nan
    broken.save_pretrained(str(tmp_path / "broken"))
    for learner in (student, student.get_base_model()):
        with pytest.raises(ValueError, match=r"broken: .*lora_B.* not finite; train it again"):
            load_teachers(learner, base, {"math": tmp_path / "broken"}, "float32", torch.device("cpu"))
