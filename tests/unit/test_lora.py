"""Adapters as users know them: a base in 4 bits, directions apart from magnitudes, experts, and what cannot be."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

from distill.config import OpdConfig
from polymath import models
from polymath.release import weights
from polymath.stage import LoraConfig
from polymath.training import adapter_config, new_adapter
from rl.config import GrpoConfig
from sft.config import SftConfig

SIZES: dict[str, Any] = {"vocab_size": 320, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
SIZES |= {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 32, "initializer_range": 0.1}
EXPERTS: dict[str, Any] = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "decoder_sparse_step": 1,
}
TEXTS = [[5, 6, 7, 8, 9, 10], [300, 3, 4]]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    Qwen3ForCausalLM(Qwen3Config(**SIZES)).save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def adapted(model: Any, source: Path, **settings: Any) -> Any:
    """With weights that are not those of the start, where an adapter does nothing."""
    from peft import get_peft_model

    config = SftConfig.model_validate({"domains": ["d"], "max_steps": 1, "lora": {"r": 4, **settings}})
    adapter = new_adapter(config, source, model)
    assert adapter is not None
    own: Any = get_peft_model(model, adapter)
    for name, parameter in own.named_parameters():
        if "lora_B" in name:
            parameter.data += 0.1 * torch.randn_like(parameter)
    return own


def test_a_base_in_4_bits_is_small_and_stays_as_it_is(base: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="an extra, which PEFT imports wherever it is: a second for each process")
    model = models.load_model(base, "float32", bits=models.four_bits(bf16=False))
    projection = model.model.layers[0].mlp.up_proj.weight
    assert (
        projection.dtype == torch.uint8 and projection.numel() * 2 == SIZES["hidden_size"] * SIZES["intermediate_size"]
    )
    assert model.lm_head.weight.dtype == torch.float32
    whole = models.load_model(base, "float32").eval()
    apart = weights.compare(weights.logprobs(whole, TEXTS), weights.logprobs(model.eval(), TEXTS), "bfloat16")
    assert 1e-4 < apart.mean < 0.5  # it is another model, and nearly the same
    own = adapted(model, base, load_in_4bit=True)
    own(input_ids=torch.tensor([[1, 2, 3]]), labels=torch.tensor([[1, 2, 3]])).loss.backward()
    learns = {name for name, parameter in own.named_parameters() if parameter.grad is not None}
    assert learns and all(".lora_" in name for name in learns)
    own.save_pretrained(str(tmp_path / "adapter"))
    assert models.base_of(tmp_path / "adapter") == base.resolve()
    again = models.load_model(tmp_path / "adapter", "float32")
    assert again.base_model.model.model.layers[0].mlp.up_proj.base_layer.weight.dtype == torch.float32


def test_a_target_that_no_module_has_is_named_beside_those_that_there_are(base: Path) -> None:
    model = models.load_model(base, "float32")
    with pytest.raises(ValueError, match="no module of the model is called 'nope'; known are .*q_proj"):
        adapted(model, base, target_modules=["q_proj", "nope"])
    assert adapted(model, base, target_modules=["self_attn.q_proj"]).active_peft_config.target_modules
    with pytest.raises(
        ValueError, match="no parameter of the model is called 'mlp.experts.gate_up_proj'; they are for"
    ):
        adapted(model, base, target_parameters=["mlp.experts.gate_up_proj"])
    experts = Qwen3MoeForCausalLM(Qwen3MoeConfig(**SIZES, **EXPERTS))
    with pytest.raises(ValueError, match="called 'experts.gate_up'; did you mean 'mlp.experts.gate_up_proj'"):
        adapted(experts, base, target_parameters=["experts.gate_up"])


@pytest.mark.parametrize(
    ("parameter", "modules", "fault"),
    [
        ("mlp.down_proj.weight", "all-linear", r"adapter on already: leave it out here; .*modules: \[down_proj\]"),
        ("mlp.down_proj.weight", ["mlp.down_proj"], "of a module that target_modules puts an adapter on already"),
        ("down_proj.weight", r".*layers\.1\.mlp\.down_proj", "of a module that target_modules puts an adapter on"),
        ("norm.weight", "all-linear", "lora.target_parameters: 'norm.weight' has 1 dimension, and PEFT adapts those"),
        ("mlp.down_proj.weight", ["q_proj"], ""),
        ("mlp.down_proj.weight", [], ""),
        ("lm_head.weight", "all-linear", ""),
        ("embed_tokens.weight", "all-linear", ""),
    ],
)
def test_a_parameter_is_refused_where_peft_refuses_it(base: Path, parameter: str, modules: Any, fault: str) -> None:
    from peft import get_peft_model

    model = models.load_model(base, "float32")
    given = LoraConfig(target_modules=tuple(modules) if isinstance(modules, list) else modules)
    plain = adapter_config(given.model_copy(update={"target_parameters": (parameter,)}))
    settings = {"target_parameters": [parameter], "target_modules": modules}
    if not fault:
        assert adapted(model, base, **settings)
        return
    with pytest.raises(ValueError, match=fault):
        adapted(model, base, **settings)
    with pytest.raises(ValueError, match="not a valid target|only 2d and 3d"):
        get_peft_model(model, plain)


@pytest.mark.parametrize(
    ("targets", "fault"),
    [
        ("q_proj", r"a regular expression that no module's whole name matches; did you mean \[q_proj\]"),
        (".*q_prj", "matches; did you mean 'q_proj'"),
        ("(", r"no regular expression: missing \)"),
        ([], "names no module; known are down_proj"),
        (["self_attn.q_prj"], "did you mean 'q_proj'"),
        (".*q_proj", ""),
        ("All-Linear", ""),
    ],
)
def test_targets_are_names_or_one_expression(base: Path, targets: Any, fault: str) -> None:
    model = models.load_model(base, "float32")
    if not fault:
        assert adapted(model, base, target_modules=targets)
        return
    with pytest.raises(ValueError, match=fault):
        adapted(model, base, target_modules=targets)


@pytest.mark.parametrize(
    "settings",
    [
        {"use_dora": True, "use_rslora": True},
        {"target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"], "target_modules": ["q_proj"]},
    ],
    ids=["dora", "experts"],
)
def test_what_is_merged_says_what_the_adapter_says(settings: dict[str, Any], base: Path, tmp_path: Path) -> None:
    if "target_parameters" in settings:
        torch.manual_seed(0)
        Qwen3MoeForCausalLM(Qwen3MoeConfig(**SIZES, **EXPERTS)).save_pretrained(base)
    plain = models.load_model(base, "float32").eval()
    before = weights.logprobs(plain, TEXTS)
    own = adapted(plain, base, **settings)
    own.save_pretrained(str(tmp_path / "adapter"))
    adapter = weights.logprobs(models.load_model(tmp_path / "adapter", "float32").eval(), TEXTS)
    assert not weights.compare(before, adapter, "float32").holds()
    assert weights.compare(adapter, weights.logprobs(weights.merged(tmp_path / "adapter"), TEXTS), "float32").holds()


@pytest.mark.parametrize("name", ["use_dora", "load_in_4bit", "lora_dropout"])
def test_adapted_parameters_go_without_what_peft_has_not(name: str) -> None:
    with pytest.raises(ValueError, match=f"target_parameters goes without {name}"):
        LoraConfig.model_validate(
            {"target_parameters": ["mlp.experts.down_proj"], name: 0.5 if "dropout" in name else True}
        )


@pytest.mark.parametrize(
    "own", [{"use_dora": True}, {"load_in_4bit": True}, {"target_parameters": ["experts.down_proj"]}]
)
def test_what_no_engine_takes_is_refused_before_anything_starts(own: dict[str, Any]) -> None:
    (name,) = own
    settings = {"domains": ["d"], "max_steps": 1, "lora": own}
    GrpoConfig.model_validate(settings)
    with pytest.raises(ValueError, match=f"lora.{name} is not for vLLM"):
        GrpoConfig.model_validate(settings | {"use_vllm": True})


def test_teachers_are_not_scored_on_a_base_in_4_bits() -> None:
    with pytest.raises(ValueError, match="lora.load_in_4bit: teachers that share"):
        OpdConfig.model_validate(
            {"teacher_models": {"d": "t"}, "max_steps": 1, "lora": {"load_in_4bit": True}, "from": "base"}
        )
    with pytest.raises(ValueError, match=r"lora.target_modules: .* take lm_head out"):
        OpdConfig.model_validate(
            {"teacher_models": {"d": "t"}, "max_steps": 1, "lora": {"target_modules": ["q_proj", "lm_head"]}}
        )
