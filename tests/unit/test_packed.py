"""Packed sequences against padded ones: the same numbers, and the same gradients, as TRL's own forward."""

from functools import partialmethod
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from peft import LoraConfig, get_peft_model
from transformers import (
    GptOssConfig,
    GptOssForCausalLM,
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)
from trl.trainer.grpo_trainer import GRPOTrainer

import polymath.packed
from polymath.packed import NAME, Packed, compile_layers, logits_of_ends, use_packed_attention, without_dropout

pytestmark = pytest.mark.usefixtures("one_thread")

V = 50
SIZES: dict[str, Any] = {
    "vocab_size": V, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "head_dim": 16, "max_position_embeddings": 128, "initializer_range": 0.2,
}  # fmt: skip
EXPERTS: dict[str, Any] = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
WINDOW: dict[str, Any] = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}


def tiny(kind: str, **settings: Any) -> Any:
    torch.manual_seed(0)
    if kind == "llama":
        return LlamaForCausalLM(LlamaConfig(**SIZES, **settings))
    if kind == "experts":
        return Qwen3MoeForCausalLM(Qwen3MoeConfig(**SIZES, **EXPERTS, **settings))
    return Qwen3ForCausalLM(Qwen3Config(**SIZES, **settings))


def batch(side: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of 1 to 13 tokens; `both` is a prompt padded at the left and a completion padded at the right."""
    torch.manual_seed(1)
    ids = torch.randint(1, V, (5, 13))
    mask = torch.zeros(5, 13, dtype=torch.long)
    for row, length in enumerate((13, 7, 1, 9, 2)):
        start = {"left": 13 - length, "right": 0, "both": (13 - length) // 2}[side]
        mask[row, start : start + length] = 1
    return ids * mask, mask


def padded_values(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of each token given those before it, by the ordinary forward; 0 where there is none."""
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits = model(input_ids=ids, attention_mask=mask, position_ids=positions).logits
    logprobs = logits[:, :-1].log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0]
    return torch.nn.functional.pad(logprobs * mask[:, 1:] * mask[:, :-1], (1, 0))


def packed_values(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    packed = Packed.of(ids, mask)
    logits = model(**packed.inputs()).logits
    logprobs = logits[:, :-1].log_softmax(-1).gather(2, packed.ids[:, 1:, None])[..., 0]
    values = packed.padded(torch.nn.functional.pad(logprobs, (1, 0)))
    has_one_before = torch.nn.functional.pad(mask[:, :-1], (1, 0)) * mask
    return values * has_one_before


def gradients(model: Any, values: torch.Tensor) -> list[torch.Tensor]:
    model.zero_grad()
    weights = torch.linspace(-1, 1, values.numel(), dtype=values.dtype).view_as(values)
    (values * weights).sum().backward()
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("side", ["left", "right", "both"])
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("qwen3", {"num_key_value_heads": 4}),
        ("qwen3", {"num_key_value_heads": 2}),
        ("llama", {"num_key_value_heads": 1}),
        ("qwen3", {"num_key_value_heads": 2} | WINDOW),
    ],
    ids=["qwen3", "qwen3-gqa", "llama-mqa", "sliding-window"],
)
def test_packed_rows_are_worth_what_padded_ones_are(kind: str, settings: dict[str, Any], side: str) -> None:
    model, (ids, mask) = tiny(kind, attn_implementation="eager", **settings), batch(side)
    expected = padded_values(model, ids, mask)
    expected_gradients = gradients(model, expected)
    use_packed_attention(model)
    assert model.config._attn_implementation == NAME
    for own in (padded_values(model, ids, mask), packed_values(model, ids, mask)):
        assert torch.allclose(own, expected, atol=1e-5)
    got = gradients(model, packed_values(model, ids, mask))
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    again = gradients(model, packed_values(model, ids, mask))
    assert len(got) == len(again) == len(expected_gradients) > 20
    for one, two, other in zip(got, again, expected_gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-4) and torch.allclose(two, other, atol=1e-4)


def test_a_sliding_window_hides_something() -> None:
    """So that the case above tests it."""
    ids, mask = batch("right")
    narrow, wide = (tiny("qwen3", num_key_value_heads=2, **own) for own in (WINDOW, {}))
    for model in (narrow, wide):
        use_packed_attention(model)
    one, other = (packed_values(model, ids, mask) for model in (narrow, wide))
    assert torch.allclose(one[:, :5], other[:, :5]) and (one[0, 6:] - other[0, 6:]).abs().max() > 0.01


def test_a_model_that_autocast_rounds_may_be_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the reference model of GRPO is: its weights are float32, and accelerate lets it compute in bfloat16."""
    exact = polymath.packed._row_by_row
    monkeypatch.setattr(polymath.packed, "_row_by_row", lambda *args: exact(*args).bfloat16().float())  # as a kernel
    model = tiny("qwen3", num_key_value_heads=2)
    for weight in model.parameters():
        weight.data *= 3  # what rounds there is far off at the end
    with pytest.raises(ValueError, match="nats off"):
        use_packed_attention(model)
    model.set_attn_implementation("eager")
    AcceleratorState._reset_state(reset_partial_state=True)  # that of tests before this one, and its own
    Accelerator(mixed_precision="bf16", cpu=True).prepare_model(model, evaluation_mode=True)
    AcceleratorState._reset_state(reset_partial_state=True)
    use_packed_attention(model)


def test_packing_keeps_every_token_and_its_place() -> None:
    ids = torch.tensor([[0, 0, 5, 6], [7, 8, 9, 0], [0, 4, 0, 0]])
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0], [0, 1, 0, 0]])
    packed = Packed.of(ids, mask)
    assert packed.ids.tolist() == [[5, 6, 7, 8, 9, 4]] and packed.positions.tolist() == [[0, 1, 0, 1, 2, 0]]
    assert packed.offsets.tolist() == [0, 2, 5, 6] and packed.offsets.dtype == torch.int32 and packed.longest == 3
    assert packed.padded(packed.ids).equal(ids)
    assert packed.padded(packed.ids[..., None].expand(-1, -1, 2)).shape == (3, 4, 2)
    listed = Packed.of_lists([[5, 6], [7, 8, 9], [4]], torch.device("cpu"))
    assert listed.ids.equal(packed.ids) and listed.offsets.equal(packed.offsets) and listed.longest == 3


def test_a_row_sees_nothing_of_its_neighbours() -> None:
    model, (ids, mask) = tiny("qwen3", num_key_value_heads=2), batch("both")
    use_packed_attention(model)
    values = packed_values(model, ids, mask)
    for row in range(len(ids)):
        changed = (ids + 3) % V * mask
        changed[row] = ids[row]
        assert torch.allclose(packed_values(model, changed, mask)[row], values[row], atol=1e-5)


@pytest.mark.parametrize("kind", ["full", "lora", "experts"])
@pytest.mark.parametrize("batch_size", [None, 2])
def test_the_trainer_computes_what_trl_does(trainer_for: Any, kind: str, batch_size: int | None) -> None:
    model = tiny("experts" if kind == "experts" else "qwen3", num_key_value_heads=2, tie_word_embeddings=True)
    if kind == "lora":
        model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    trainer = trainer_for(model, temperature=0.7)
    ids, mask = batch("both")
    keep = 7  # the completions' columns
    mask[:, -keep - 1 : -keep + 1] = 1  # each row has a prompt and a completion
    ids = torch.where(mask.bool(), torch.where(ids == 0, 5, ids), 0)
    written = mask[:, -keep:].bool()
    results = {}
    for name, method in (
        ("ours", trainer._get_per_token_logps_and_entropies),
        ("theirs", lambda *own, **more: GRPOTrainer._get_per_token_logps_and_entropies(trainer, *own, **more)),
    ):
        logprobs, entropies, balance = method(
            trainer.model, ids, mask, keep, batch_size, compute_entropy=True, compute_aux_loss=kind == "experts"
        )
        assert logprobs.shape == entropies.shape == (5, keep) and (balance is None) == (kind != "experts")
        balance = torch.zeros(()) if balance is None else balance
        trainer.model.zero_grad()
        ((logprobs * written * torch.linspace(-1, 1, keep)).sum() + 10 * balance).backward()
        grads = [p.grad.clone() for p in trainer.model.parameters() if p.requires_grad]
        results[name] = (logprobs[written].detach(), entropies[written].detach(), grads, balance.detach())
    ours, theirs = results["ours"], results["theirs"]
    assert torch.allclose(ours[3], theirs[3], atol=1e-5) and (ours[3] > 0.9 or kind != "experts")
    assert ours[0].std() > 0.5 and torch.allclose(ours[0], theirs[0], atol=1e-5)
    assert torch.allclose(ours[1], theirs[1], atol=1e-5)
    assert all(torch.allclose(one, other, atol=2e-4) for one, other in zip(ours[2], theirs[2], strict=True))


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "alone"])
@pytest.mark.parametrize("dropout", ["none", "attention", "lora"])
@torch.no_grad()
def test_the_ends_of_rows_as_an_engine_sees_them(packed: bool, dropout: str) -> None:
    model = tiny("qwen3", num_key_value_heads=2, attention_dropout=0.5 if dropout == "attention" else 0.0)
    if dropout == "lora":
        lora = LoraConfig(r=4, lora_dropout=0.5, init_lora_weights=False, target_modules="all-linear")
        model = get_peft_model(model, lora)
    rows, counts = [[1, 2, 3, 4, 5, 6], [7, 8], [9, 8, 7, 6]], [3, 1, 0]
    model.eval()
    due = torch.cat([
        model(torch.tensor([row])).logits[0, len(row) - count - 1 : -1]
        for row, count in zip(rows, counts, strict=True)
    ])  # fmt: skip
    if packed:
        use_packed_attention(model)
    model.train()
    with without_dropout(model):
        assert torch.allclose(logits_of_ends(model, rows, counts), due, atol=1e-4)
    assert all(module.training for module in model.modules())
    apart = (logits_of_ends(model, rows, counts) - due).abs().max()
    assert (apart > 1e-4) == (dropout == "lora" or (dropout == "attention" and not packed))  # ours drops nothing


@pytest.mark.slow
def test_compiled_layers_compute_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced, with their gradients, for any number of tokens; making kernels of that takes a minute on a CPU."""
    stock = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", partialmethod(stock, backend="aot_eager"))
    adapter = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    one_layer: dict[str, Any] = SIZES | {"num_hidden_layers": 1}
    torch.manual_seed(0)
    model: Any = get_peft_model(Qwen3ForCausalLM(Qwen3Config(**one_layer, num_key_value_heads=2)), adapter)
    model.enable_input_require_grads()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    use_packed_attention(model)
    ids, mask = batch("both")
    results = []
    for compiled in (False, True):
        if compiled:
            compile_layers(model)
        model.train()
        for rows in (5, 3):  # different numbers of tokens
            values = packed_values(model, ids[:rows], mask[:rows])
            results.append([values.detach(), *gradients(model, values)])
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0  # pyright: ignore[reportAttributeAccessIssue]
    for plain, compiled in zip(results[:2], results[2:], strict=True):
        assert len(plain) == len(compiled) > 10
        assert all(torch.allclose(one, other, atol=1e-4) for one, other in zip(plain, compiled, strict=True))


def test_a_model_that_packing_would_change_is_refused() -> None:
    settings: dict[str, Any] = SIZES | {"num_key_value_heads": 2, "num_local_experts": 2, "num_experts_per_tok": 1}
    sinks: Any = GptOssForCausalLM(GptOssConfig(**settings, layer_types=["full_attention"] * 3))
    with torch.no_grad():
        for layer in sinks.model.layers:
            layer.self_attn.sinks.fill_(4.0)
    with pytest.raises(ValueError, match="gives its attention sinks, caps or the like: packed, it is .* nats off"):
        use_packed_attention(sinks)
    convolutions = Lfm2ForCausalLM(
        Lfm2Config(**SIZES, num_key_value_heads=2, layer_types=["conv", "conv", "full_attention"])
    )
    with pytest.raises(ValueError, match="has layers of the type conv"):
        use_packed_attention(convolutions)
