"""A pass that is told from those through a few layers is the one through all of them, to the byte."""

from typing import Any

import pytest
import torch
from peft import LoraConfig
from transformers import Gemma3TextConfig, LlamaConfig, PretrainedConfig, Qwen3Config, Qwen3MoeConfig

from polymath.packed import backbone
from polymath.planning import counting, depth
from polymath.planning.counting import MicroBatch, Training, trace
from polymath.planning.depth import DEEP, SHALLOW, Pass, extended
from polymath.planning.memory import Learner, Moment

SMALL: dict[str, Any] = {"vocab_size": 300, "hidden_size": 64, "intermediate_size": 96, "head_dim": 16}
SMALL |= {"num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
MOE: dict[str, Any] = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}


def lora(targets: Any) -> LoraConfig:
    return LoraConfig(r=16, lora_alpha=32, task_type="CAUSAL_LM", target_modules=targets)


@pytest.fixture
def carried_out(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many layers each pass goes through."""
    seen: list[int] = []
    own = counting._carried_out

    def watched(model: Any, **given: Any) -> Pass:
        seen.append(len(backbone(model).layers))
        return own(model, **given)

    monkeypatch.setattr(counting, "_carried_out", watched)
    return seen


def whole(config: PretrainedConfig, training: Training, batch: MicroBatch) -> Learner:
    """All layers, one after another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(depth, "DEEP", config.num_hidden_layers)
        return trace(config, training, batch)


@pytest.mark.parametrize(("layers", "tied"), [(DEEP + 1, True), pytest.param(9, False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("adapter", [None, "all-linear", ["q_proj", "v_proj"]], ids=["full", "all", "some"])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "checkpointed"])
def test_a_few_layers_tell_of_all(
    layers: int, tied: bool, adapter: Any, checkpointing: bool, carried_out: list[int]
) -> None:
    config = LlamaConfig(**SMALL, num_hidden_layers=layers, tie_word_embeddings=tied)
    training = Training(torch.float32, adapter and lora(adapter), True, checkpointing, on_gpu=tied)
    batch = MicroBatch(2, 24, packed=adapter is not None, accumulates=checkpointing)
    assert trace(config, training, batch) == whole(config, training, batch)
    assert carried_out == [DEEP, SHALLOW, layers]


@pytest.mark.parametrize(
    ("kind", "sizes", "adapter"),
    [
        (Qwen3Config, {}, None),
        (Qwen3MoeConfig, MOE, None),
        (Qwen3MoeConfig, MOE, "all-linear"),
    ],
    ids=["dense", "moe", "moe-adapter"],
)
@pytest.mark.parametrize("rows", [1, 16])
def test_a_large_layer_and_a_long_batch_take_turns_at_being_most(
    kind: Any, sizes: dict[str, Any], adapter: Any, rows: int, carried_out: list[int]
) -> None:
    config = kind(**SMALL, **sizes, num_hidden_layers=11)
    training = Training(torch.bfloat16, adapter and lora(adapter), True, False, on_gpu=True, four_bits=bool(adapter))
    batch = MicroBatch(rows, 40, packed=True, accumulates=False)
    assert trace(config, training, batch) == whole(config, training, batch)
    assert carried_out == [DEEP, SHALLOW, 11]


UNLIKE = {
    "windows": (Gemma3TextConfig(**SMALL, num_hidden_layers=8), None),
    "first layer dense": (Qwen3MoeConfig(**SMALL, **MOE, num_hidden_layers=8, mlp_only_layers=[0]), None),
    "one layer adapted": (LlamaConfig(**SMALL, num_hidden_layers=8), r".*layers\.6\.mlp\.(up|down)_proj"),
    "few": (LlamaConfig(**SMALL, num_hidden_layers=DEEP), "all-linear"),
}


@pytest.mark.parametrize("name", UNLIKE)
def test_layers_that_differ_are_carried_out_one_and_all(name: str, carried_out: list[int]) -> None:
    config, adapter = UNLIKE[name]
    training = Training(torch.float32, adapter and lora(adapter), False, False, on_gpu=True)
    told = trace(config, training, MicroBatch(2, 24, packed=True, accumulates=False))
    assert carried_out == [config.num_hidden_layers] and told.kept > 0


def test_each_moment_is_on_a_line_of_its_own() -> None:
    shallow = Pass(30, [Moment(35, 0), Moment(25, 20), Moment(15, 40), Moment(10, 60)])
    deep = Pass(40, [Moment(45, 0), Moment(35, 20), Moment(30, 30), Moment(15, 60), Moment(10, 80)])
    assert shallow.fullest() == Moment(10, 60) and deep.fullest() == Moment(10, 80)
    assert extended(shallow, deep, 0) == Pass(40, [*deep.peaks[:2], *deep.peaks[3:]])
    far = extended(shallow, deep, 6)
    assert far == Pass(100, [Moment(105, 0), Moment(95, 20), Moment(15, 180), Moment(10, 200)])
    assert far.fullest() == Moment(10, 200)
    heavy = extended(Pass(30, [Moment(35, 0), Moment(10, 30)]), Pass(50, [Moment(55, 0), Moment(10, 35)]), 3)
    assert heavy.fullest() == Moment(115, 0)  # what is most in a deep model need not be so in a shallow one


def test_without_a_batch_there_are_weights_alone(carried_out: list[int]) -> None:
    config = Qwen3Config(**SMALL, num_hidden_layers=6)
    training = Training(torch.float32, None, True, False, on_gpu=True)
    told = trace(config, training, None)
    learns = trace(config, training, MicroBatch(1, 8, packed=True, accumulates=False))
    assert told.weights == learns.weights > 0 and told.kept == told.backward.total() == 0
    assert len(carried_out) == 2
