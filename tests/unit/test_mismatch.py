"""What engine and learner disagree about: the ratio by hand and by TRL's formula, in the loss, and within supports."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from peft import LoraConfig
from pydantic import ValidationError
from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM
from trl.trainer.grpo_trainer import GRPOTrainer

from polymath.data import Row
from polymath.engine.local import LocalEngine
from polymath.engine.protocol import Request, Sample, Watch
from polymath.engine.wal import TokenLog, log_key
from rl.config import GrpoConfig, Mode
from rl.mismatch import importance_ratio, kept_logprobs

pytestmark = pytest.mark.usefixtures("one_thread")

MODES: tuple[Mode, ...] = ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask")


def tiny(tokenizer: Any, **settings: Any) -> Any:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 16}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "initializer_range": 0.1}
    config: dict[str, Any] = {"vocab_size": len(tokenizer), "max_position_embeddings": 128, "tie_word_embeddings": True}
    config |= sizes | heads
    return Qwen3ForCausalLM(Qwen3Config(**config | settings))


SHAPE = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "head_dim", "num_attention_heads",
    "num_key_value_heads", "initializer_range", "max_position_embeddings", "tie_word_embeddings",
)  # fmt: skip


def from_disk(model: Any, folder: Path) -> Any:
    """TRL loads the model of the KL from there."""
    model.save_pretrained(folder / "start")
    return Qwen3ForCausalLM.from_pretrained(folder / "start")


LN2, LN3 = math.log(2), math.log(3)


@pytest.mark.parametrize(
    ("mode", "low", "high", "expected"),
    [
        ("token_truncate", 0.5, 2.5, [[2, 2.5, 1], [1, 0.5, 0.5]]),
        ("token_truncate", None, None, [[2, 3, 1], [1, 1 / 3, 1 / 2]]),
        ("token_mask", 0.5, 2.5, [[2, 0, 1], [1, 0, 0.5]]),
        ("token_mask", None, 2.5, [[2, 0, 1], [1, 1 / 3, 0.5]]),
        ("sequence_truncate", 0.25, 5.0, [[5], [0.25]]),
        ("sequence_truncate", None, 9.0, [[6], [1 / 6]]),
        ("sequence_mask", None, 5.0, [[0], [1 / 6]]),
        ("sequence_mask", 0.25, None, [[6], [0]]),
    ],
)
def test_the_ratio_by_hand(mode: Mode, low: float | None, high: float | None, expected: list[list[float]]) -> None:
    engine = torch.tensor([[-2.0, -3.0, -1.0], [-1.0, -1.0, -1.0]])
    learner = engine + torch.tensor([[LN2, LN3, 9.0], [9.0, -LN3, -LN2]])
    mask = torch.tensor([[1, 1, 0], [0, 1, 1]])
    ratio = importance_ratio(learner, engine, mask, mode, low, high)
    by_hand = torch.tensor(expected, dtype=torch.float32)
    assert ratio.shape == by_hand.shape and torch.allclose(ratio, by_hand, atol=1e-5)


def trl_ratio(
    learner: torch.Tensor, engine: torch.Tensor, mask: torch.Tensor, mode: str, low: float | None, high: float | None
) -> torch.Tensor:
    """Line by line as `GRPOTrainer._generate_and_score_completions` of TRL 1.16 has it."""
    diff = torch.nan_to_num((learner - engine) * mask, nan=0.0)
    if mode in ("sequence_mask", "sequence_truncate"):
        diff = diff.sum(dim=-1, keepdim=True)
    ratio = torch.exp(diff)
    if mode in ("sequence_truncate", "token_truncate"):
        return torch.clamp(ratio, min=low, max=high)
    invalid = (ratio < (-math.inf if low is None else low)) | (ratio > (math.inf if high is None else high))
    return ratio.masked_fill(invalid, value=0.0)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("low", "high"), [(None, 3.0), (0.5, None), (0.7, 1.4)])
def test_the_ratio_is_trls(mode: Mode, low: float | None, high: float | None) -> None:
    torch.manual_seed(2)
    engine, mask = -3 * torch.rand(40, 9), (torch.rand(40, 9) > 0.3).long()
    learner = engine + 0.6 * torch.randn(40, 9)
    ratio = importance_ratio(learner, engine, mask, mode, low, high)
    expected = trl_ratio(learner, engine, mask, mode, low, high)
    assert torch.equal(ratio, expected) and len(ratio.unique()) > 1
    if mode.endswith("mask"):
        assert 0 < (ratio == 0).float().mean() < 1


class Skewed(LocalEngine):
    """Tells log-probabilities that are off, each by another amount, as another kernel's would be."""

    def generate(self, requests: Any, watch: Watch | None = None) -> list[Sample]:
        samples = super().generate(requests, watch)
        return [
            replace(own, logprobs=[p + 0.5 * math.sin(row + 3 * place) for place, p in enumerate(own.logprobs)])
            for row, own in enumerate(samples)
        ]


PROMPTS = [
    Row("Ada", (), "math", "high", "high", 12, "math_answer", "1"),
    Row("write it down and look up", (), "math", "high", "high", 16, "math_answer", "1"),
]
EXTRA: list[dict[str, Any]] = [
    {},
    {"beta": 0.1, "use_bias_correction_kl": True},
    {"loss_type": "grpo", "off_policy_mask_threshold": 0.05},
    {"vllm_importance_sampling_correction": False},
]


@pytest.mark.parametrize("extra", EXTRA, ids=["dapo", "kl", "grpo-off-policy", "uncorrected"])
@pytest.mark.parametrize("mode", MODES)
def test_the_loss_is_that_of_trl_with_a_forward_of_its_own(
    trainer_for: Any, words: Any, tmp_path: Path, mode: Mode, extra: dict[str, Any]
) -> None:
    bounds = {"vllm_importance_sampling_clip_min": 0.4, "vllm_importance_sampling_clip_max": 1.5}
    trainer = trainer_for(
        from_disk(tiny(words), tmp_path), PROMPTS, engine_for=lambda policy: Skewed(policy, seed=0),
        vllm_importance_sampling_mode=mode, **bounds, **extra,
    )  # fmt: skip
    with torch.no_grad():  # away from the model that a KL is taken to
        for parameter in trainer.model.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    trainer.current_gradient_accumulation_steps = 1
    rows = [vars(row) for row in PROMPTS for _ in range(4)]
    batch = trainer._generate_and_score_completions([dict(row) for row in rows])
    assert batch["advantages"].abs().max() > 0.1 and "old_per_token_logps" not in batch
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    keep = batch["completion_ids"].shape[1]
    with torch.no_grad():  # TRL's forward for the policy that sampled
        old, _, _ = GRPOTrainer._get_per_token_logps_and_entropies(trainer, trainer.model, ids, mask, keep)
    ratio = trl_ratio(old, batch["sampling_per_token_logps"], batch["completion_mask"], mode, 0.4, 1.5)
    assert len(ratio.unique()) > 3 and (ratio == 0).any() == mode.endswith("mask")
    theirs = dict(batch) | {"old_per_token_logps": old, "importance_sampling_ratio": ratio}
    loss = trainer._compute_loss(trainer.model, batch)
    loss.backward()
    own = trainer.model.model.layers[0].mlp.up_proj.weight.grad.clone()
    trainer.model.zero_grad()
    expected = stock_loss(trainer, theirs)
    expected.backward()
    other = trainer.model.model.layers[0].mlp.up_proj.weight.grad
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    assert other.abs().max() > 1e-4 and torch.allclose(own, other, atol=1e-6)
    if extra == {}:
        assert loss.item() == pytest.approx(dapo_by_hand(batch, ratio), abs=1e-6)


def stock_loss(trainer: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """`GRPOTrainer._compute_loss` with its own forward."""

    class Stock(type(trainer)):  # type: ignore[misc]
        _get_per_token_logps_and_entropies = GRPOTrainer._get_per_token_logps_and_entropies
        _compute_loss = GRPOTrainer._compute_loss

    kind = type(trainer)
    trainer.__class__, trainer.use_vllm = Stock, True
    try:
        return trainer._compute_loss(trainer.model, inputs)
    finally:
        trainer.__class__, trainer.use_vllm = kind, False


def dapo_by_hand(batch: dict[str, Any], ratio: torch.Tensor) -> float:
    """-sum over tokens of ratio * advantage / tokens: the policy has not moved, so that its own ratio is 1."""
    total = 0.0
    for row, advantage in enumerate(batch["advantages"].tolist()):
        for place in range(int(batch["completion_mask"][row].sum())):
            total -= advantage * ratio[row, place if ratio.shape[1] > 1 else 0].item()
    return total / batch["completion_mask"].sum().item()


@pytest.mark.parametrize(("kind", "low", "high"), [(LocalEngine, 0, 1e-5), (Skewed, 0.2, 0.5)], ids=["exact", "skewed"])
def test_a_stage_tells_how_far_engine_and_learner_are_apart(
    trainer_for: Any, words: Any, kind: type[LocalEngine], low: float, high: float
) -> None:
    trainer = trainer_for(
        tiny(words),
        PROMPTS,
        engine_for=lambda policy: kind(policy, seed=0),
        vllm_importance_sampling_mode="token_truncate",
    )
    trainer.train()
    (line,) = [line for line in trainer.state.log_history if "sync/mismatch" in line]
    assert low <= line["sync/mismatch"] <= high and line["sync/mismatch"] <= line["sync/mismatch_max"] <= 0.5 + 1e-4
    assert abs(line["sync/importance_ratio"] - 1) < (1e-5 if kind is LocalEngine else 0.3)


def dense_kept(
    hidden_NH: torch.Tensor, weight_VH: torch.Tensor, tokens: list[int], kept: list[list[int]], temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of the whole vocabulary in float64, -inf outside of the support."""
    logprobs, entropies = [], []
    for hidden, token, own in zip(hidden_NH, tokens, kept, strict=True):
        logits = weight_VH @ hidden / temperature
        outside = torch.ones_like(logits, dtype=torch.bool)
        outside[own] = False
        row = logits.masked_fill(outside, -torch.inf).log_softmax(-1)
        logprobs.append(row[token])
        entropies.append(-(row[own].exp() * row[own]).sum())
    return torch.stack(logprobs), torch.stack(entropies)


def test_logprobs_within_a_support_against_a_dense_twin() -> None:
    torch.manual_seed(3)
    hidden, weight = torch.randn(6, 8, requires_grad=True), torch.randn(20, 8, requires_grad=True)
    kept = [[0, 5, 7, 19], [3], [2, 9], [1, 2, 3, 4], [11, 12], [0, 1, 18]]
    tokens = [7, 3, 9, 1, 11, 0]
    table = torch.tensor([own + [-1] * (4 - len(own)) for own in kept])
    logprobs, entropies = kept_logprobs(hidden, weight, torch.tensor(tokens), table, 0.7)
    twin_hidden, twin_weight = (x.detach().double().requires_grad_() for x in (hidden, weight))
    expected, expected_entropies = dense_kept(twin_hidden, twin_weight, tokens, kept, 0.7)
    assert torch.allclose(logprobs.double(), expected, atol=1e-5)
    assert torch.allclose(entropies.double(), expected_entropies, atol=1e-5)
    assert logprobs[1] == 0 and entropies[1] == 0  # the only token there is
    slopes = torch.linspace(-1, 1, 6)
    (logprobs * slopes + 0.3 * entropies).sum().backward()
    (expected * slopes + 0.3 * expected_entropies).sum().backward()
    for own, twin in ((hidden, twin_hidden), (weight, twin_weight)):
        assert own.grad is not None and twin.grad is not None and torch.isfinite(own.grad).all()
        assert torch.allclose(own.grad.double(), twin.grad, atol=1e-5)
    assert weight.grad is not None and not weight.grad[[6, 8, 10]].any() and weight.grad[7].any()


@pytest.mark.parametrize("truncation", [{"top_k": 6}, {"top_k": 20, "top_p": 0.8}])
@pytest.mark.parametrize("lora", [False, True])
def test_training_sees_the_support_that_sampling_kept(
    trainer_for: Any, words: Any, truncation: dict[str, Any], lora: bool
) -> None:
    adapter = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False) if lora else None
    trainer = trainer_for(
        tiny(words), PROMPTS, temperature=0.8, vllm_importance_sampling_mode="token_truncate", peft_config=adapter, **truncation
    )  # fmt: skip
    trainer.current_gradient_accumulation_steps = 1
    batch = trainer._generate_and_score_completions([dict(vars(row)) for row in PROMPTS for _ in range(4)])
    written = batch["completion_mask"].bool()
    sizes = (batch["kept_ids"] >= 0).sum(-1)[written]
    assert sizes.max() <= truncation["top_k"] and (len(sizes.unique()) > 2) == ("top_p" in truncation)
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    keep = written.shape[1]
    logprobs, entropies, _ = trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, keep)
    assert torch.allclose(logprobs[written], batch["sampling_per_token_logps"][written], atol=1e-5)
    assert (entropies[written] <= sizes.log() + 1e-5).all()
    whole, _, _ = GRPOTrainer._get_per_token_logps_and_entropies(trainer, trainer.model, ids, mask, keep)
    assert (whole[written] < logprobs[written] - 0.05).float().mean() > 0.5  # without it they disagree
    trainer._compute_loss(trainer.model, batch).backward()
    assert torch.allclose(batch["importance_sampling_ratio"][written], torch.ones(()), atol=1e-4)
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in trainer.model.parameters())


def test_a_step_with_kept_supports_runs_through_trl(trainer_for: Any, words: Any, tmp_path: Path) -> None:
    trainer = trainer_for(
        from_disk(tiny(words), tmp_path),
        PROMPTS * 2,
        top_k=5,
        beta=0.05,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        max_steps=2,
    )
    trainer.train()
    lines = [line for line in trainer.state.log_history if "sync/mismatch" in line]
    assert len(lines) == 2 and all(line["sync/mismatch_max"] < 1e-4 for line in lines)


@pytest.mark.parametrize("top_k", [0, 5])
def test_a_step_with_experts_runs_through_trl(trainer_for: Any, words: Any, top_k: int) -> None:
    dense = tiny(words).config.to_dict()
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "norm_topk_prob": True}
    model = Qwen3MoeForCausalLM(Qwen3MoeConfig(**{key: dense[key] for key in SHAPE}, **experts))
    trainer = trainer_for(model, PROMPTS * 2, top_k=top_k, max_steps=2)
    trainer.train()
    lines = [line for line in trainer.state.log_history if "sync/mismatch" in line]
    assert len(lines) == 2 and all(line["sync/mismatch_max"] < 1e-4 for line in lines)
    assert all(line["aux_loss"] > 1.9 for line in lines)  # 2 of each token's experts, where all are used alike
    assert all((line["entropy"] <= math.log(5)) == bool(top_k) for line in lines)


def test_a_cut_that_training_cannot_know_is_refused() -> None:
    stage = {"from": "base", "domains": ["math"], "max_steps": 1}
    with pytest.raises(ValidationError, match="set top_k as well"):
        GrpoConfig.model_validate(stage | {"top_p": 0.9})
    assert GrpoConfig.model_validate(stage | {"top_p": 0.9, "top_k": 64}).top_k == 64
    assert GrpoConfig.model_validate(stage | {"top_k": 64}).top_p == 1
    assert GrpoConfig.model_validate(stage).top_k == 0
    with pytest.raises(ValidationError, match="num_rows = 3 does not fill one step of 8 prompts"):
        GrpoConfig.model_validate(stage | {"num_rows": 3})
    with pytest.raises(ValidationError, match="vllm_mode: server goes with use_vllm: true"):
        GrpoConfig.model_validate(stage | {"vllm_mode": "server", "vllm_server_base_url": "http://localhost:8000"})
    server = {"use_vllm": True, "vllm_mode": "server", "vllm_server_base_url": "localhost:8000"}
    for field, settings in {
        "lora.r is 513, and vLLM takes at most 512": {"use_vllm": True, "lora": {"r": 513}},
        "vllm_server_base_url": server,
        "vllm_importance_sampling_clip_min": {"vllm_importance_sampling_clip_min": 1.5},
        "vllm_importance_sampling_clip_max": {"vllm_importance_sampling_clip_max": 0.9},
    }.items():
        with pytest.raises(ValidationError, match=field):
            GrpoConfig.model_validate(stage | settings)


def test_a_support_knows_nothing_of_scaled_logits(words: Any, trainer_for: Any) -> None:
    scaled = tiny(words)
    scaled.config.logits_scaling = 3.0
    trainer_for(scaled, PROMPTS)
    with pytest.raises(ValueError, match=r"top_k is not for this model, .*\(by 0.333333\)"):
        trainer_for(scaled, PROMPTS, top_k=7)


def test_the_engine_is_asked_for_what_the_stage_samples_with(trainer_for: Any, words: Any) -> None:
    asked: list[Request] = []

    class Noting(LocalEngine):
        def generate(self, requests: Any, watch: Watch | None = None) -> list[Sample]:
            asked.extend(requests)
            return super().generate(requests, watch)

    trainer = trainer_for(
        tiny(words), PROMPTS, temperature=0.8, top_k=7, top_p=0.9, engine_for=lambda policy: Noting(policy, seed=0)
    )
    trainer._generate_and_score_completions([dict(vars(row)) for row in PROMPTS for _ in range(4)])
    assert {(own.sampling.temperature, own.sampling.top_k, own.sampling.top_p) for own in asked} == {(0.8, 7, 0.9)}
    assert [own.sampling.max_tokens for own in asked] == [12] * 4 + [16] * 4
    assert [own.key for own in asked] == [f"1/{place}/0" for place in range(8)]
    assert TokenLog(cast(Any, trainer).engine.log.path).complete == {log_key(own) for own in asked}
