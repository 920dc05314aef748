"""The local engine: what it draws, from which distribution, and that a request's draws are its own."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from polymath.chat import V4Format
from polymath.engine.config import EngineConfig
from polymath.engine.local import LocalEngine, inverse_cdf, truncated
from polymath.engine.opening import open_engine
from polymath.engine.protocol import Request, Sample, Sampling
from polymath.episodes import Episode, play

pytestmark = pytest.mark.usefixtures("one_thread")

V, PAD = 30, 0
STOPS = (3, 7)


def tiny(**settings: Any) -> Any:
    """Weights of float64: what is drawn depends on no rounding."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 16}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "initializer_range": 0.25}
    config: dict[str, Any] = {"vocab_size": V, "max_position_embeddings": 128} | sizes | heads | settings
    return Qwen3ForCausalLM(Qwen3Config(**config)).double().eval()


def rows_of_forwards(model: Any) -> list[int]:
    """Filled while the model is called; rows of each forward."""
    rows: list[int] = []
    model.register_forward_pre_hook(lambda _, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True)
    return rows


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny()


def mixed(count: int = 23, **sampling: Any) -> list[Request]:
    """Prompts, budgets and temperatures of all sizes."""
    return [
        Request(
            f"1/{index}/0",
            [(5 * index + place) % V for place in range(1 + index * 3 % 11)],
            Sampling(**{"max_tokens": 1 + index * 7 % 20, "stop_token_ids": STOPS, "temperature": 0.6 + index / 20} | sampling),
        )
        for index in range(count)
    ]  # fmt: skip


def dense(model: Any, request: Request, sample: Sample) -> torch.Tensor:
    """Log-probabilities `[N, V]` of everything that could have been drawn, before truncation."""
    with torch.no_grad():
        logits = model(torch.tensor([request.prompt_ids + sample.ids])).logits[0, len(request.prompt_ids) - 1 : -1]
    return (logits / request.sampling.temperature).log_softmax(-1)


def same(left: list[Sample], right: list[Sample]) -> None:
    for one, other in zip(left, right, strict=True):
        assert one.ids == other.ids and one.kept == other.kept
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)


@pytest.mark.parametrize("truncation", [{}, {"top_k": 5, "top_p": 0.8}])
def test_a_sample_is_its_requests_own(model: Any, truncation: dict[str, Any]) -> None:
    requests = mixed(**truncation)
    samples = LocalEngine(model, seed=4).generate(requests)
    assert len({len(sample.ids) for sample in samples}) > 8  # rows leave the batch at different times
    for batch_size in (1, 4, 7):
        same(LocalEngine(model, seed=4, batch_size=batch_size).generate(requests), samples)
    same(LocalEngine(model, seed=4).generate(requests[::-1])[::-1], samples)
    other_seed = LocalEngine(model, seed=5).generate(requests)
    other_keys = LocalEngine(model, seed=4).generate([replace(own, key=f"2{own.key}") for own in requests])
    for others in (other_seed, other_keys):
        assert sum(own.ids == other.ids for own, other in zip(samples, others, strict=True)) < len(samples) / 2


@pytest.mark.parametrize("truncation", [{}, {"top_k": 5}])
def test_a_request_goes_on_where_it_was_cut(model: Any, truncation: dict[str, Any]) -> None:
    requests = mixed(**truncation)
    engine = LocalEngine(model, seed=4)
    whole = engine.generate(requests)
    cuts = [len(sample.ids) * (index % 4) // 4 for index, sample in enumerate(whole)]
    rest = [
        replace(
            request,
            prompt_ids=request.prompt_ids + sample.ids[:cut],
            sampling=replace(request.sampling, max_tokens=request.sampling.max_tokens - cut),
            written=cut,
        )
        for request, sample, cut in zip(requests, whole, cuts, strict=True)
    ]
    assert sum(cuts) > 40
    same(engine.generate(rest), [sample.after(cut) for sample, cut in zip(whole, cuts, strict=True)])


def test_settings_that_nothing_could_act_on_are_refused(model: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"top_k is 31, and the vocabulary has 30 tokens: lower it"):
        open_engine(EngineConfig(), model, tmp_path, seed=0, at_once=1, bf16=False, top_k=V + 1)
    address = {"vllm_server_base_url": "http://localhost:1"}
    with pytest.raises(ValueError, match="vllm_server_base_url goes with use_vllm: true"):
        EngineConfig.model_validate(address)
    with pytest.raises(ValueError, match="vllm_enable_sleep_mode is for vLLM in the learner's process"):
        EngineConfig.model_validate(address | {"use_vllm": True, "vllm_mode": "server", "vllm_enable_sleep_mode": True})
    with pytest.raises(ValueError, match="vllm_enable_sleep_mode goes with use_vllm: true"):
        EngineConfig(vllm_enable_sleep_mode=True)


def test_a_prompt_is_read_once_for_all_its_completions() -> None:
    model, prompts = tiny(), [request.prompt_ids for request in mixed(6)]
    requests = [
        Request(f"1/{place}/0", prompts[place % 6 if place else 5], Sampling(12, STOPS, 0.9)) for place in range(24)
    ]
    alone = [LocalEngine(model, seed=1).generate([request])[0] for request in requests]
    rows = rows_of_forwards(model)
    same(LocalEngine(model, seed=1).generate(requests), alone)
    assert rows[:2] == [6, 24] and len({tuple(sample.ids) for sample in alone}) > 12


def test_each_request_ends_within_its_own_limits(model: Any) -> None:
    requests = [
        replace(own, sampling=replace(own.sampling, stop_token_ids=(index % 5,))) for index, own in enumerate(mixed())
    ]
    endings = set()
    for request, sample in zip(requests, LocalEngine(model, seed=1).generate(requests), strict=True):
        (stop,), most = request.sampling.stop_token_ids, request.sampling.max_tokens
        assert stop not in sample.ids[:-1] and len(sample.ids) == len(sample.logprobs) <= most
        assert sample.ids[-1] == stop or len(sample.ids) == most
        endings.add(sample.ids[-1] == stop)
    assert endings == {True, False}


def test_logprobs_are_those_of_a_plain_forward(model: Any) -> None:
    requests = mixed()
    for request, sample in zip(requests, LocalEngine(model, seed=1).generate(requests), strict=True):
        expected = dense(model, request, sample).gather(1, torch.tensor(sample.ids)[:, None])[:, 0]
        assert sample.logprobs == pytest.approx(expected.tolist(), abs=1e-5) and sample.kept is None


def test_temperature_zero_takes_the_likeliest(model: Any) -> None:
    requests = mixed(temperature=0.0)
    for request, sample in zip(requests, LocalEngine(model, seed=1).generate(requests), strict=True):
        ids = list(request.prompt_ids)
        while ids[-1] not in STOPS or len(ids) == len(request.prompt_ids):
            if len(ids) == len(request.prompt_ids) + request.sampling.max_tokens:
                break
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        assert sample.ids == ids[len(request.prompt_ids) :]


def test_who_asks_for_no_logprobs_has_the_same_tokens_and_none(model: Any) -> None:
    asked = mixed(top_k=5)
    bare = [replace(own, sampling=replace(own.sampling, logprobs=place % 3 == 0)) for place, own in enumerate(asked)]
    told, samples = (LocalEngine(model, seed=4).generate(own) for own in (asked, bare))
    for place, (one, other) in enumerate(zip(samples, told, strict=True)):
        assert one == (other if place % 3 == 0 else Sample(other.ids))


def support(logprobs_V: torch.Tensor, top_p: float, top_k: int) -> list[int]:
    """The definition, token by token in float64."""
    order = sorted(range(len(logprobs_V)), key=lambda token: -logprobs_V[token].item())[: top_k or None]
    whole = sum(logprobs_V[token].double().exp().item() for token in order)
    kept, mass = [], 0.0
    for token in order:
        if mass >= top_p * whole:
            break
        kept.append(token)
        mass += logprobs_V[token].double().exp().item()
    return sorted(kept)


@pytest.mark.parametrize(("top_p", "top_k"), [(1.0, 4), (0.7, 0), (0.85, 6)])
def test_nothing_is_drawn_outside_of_the_support(model: Any, top_p: float, top_k: int) -> None:
    requests = mixed(top_p=top_p, top_k=top_k)
    sizes = set()
    for request, sample in zip(requests, LocalEngine(model, seed=2).generate(requests), strict=True):
        assert sample.kept is not None and len(sample.kept) == len(sample.ids)
        rows = dense(model, request, sample)
        for token, logprob, kept, row in zip(sample.ids, sample.logprobs, sample.kept, rows, strict=True):
            assert kept == support(row, top_p, top_k) and token in kept
            assert logprob == pytest.approx((row[token] - row[kept].logsumexp(0)).item(), abs=1e-5)
            sizes.add(len(kept))
    assert sizes == {4} if top_p == 1 else len(sizes) > 2


def test_truncation_beside_no_truncation_leaves_it_alone(model: Any) -> None:
    """What a neighbour asks for changes neither a request's draws nor what is told of them."""
    plain = mixed()
    mixture = [
        replace(own, sampling=replace(own.sampling, top_k=2)) if index % 2 else own for index, own in enumerate(plain)
    ]
    engine = LocalEngine(model, seed=2)
    together = engine.generate(mixture)
    same(together[::2], engine.generate(plain)[::2])
    assert all(len(kept) == 2 for sample in together[1::2] for kept in sample.kept or [[]])


def test_truncation_by_hand() -> None:
    logits = torch.tensor([[0.5, 0.1, 0.25, 0.15]]).log()

    def kept(top_p: float, top_k: int) -> list[int]:
        return truncated(logits, torch.tensor([top_p]), torch.tensor([top_k]))[0].isfinite().nonzero()[:, 0].tolist()

    assert kept(1.0, 0) == [0, 1, 2, 3] and kept(1.0, 2) == [0, 2] and kept(1.0, 9) == [0, 1, 2, 3]
    assert kept(0.4, 0) == [0] and kept(0.6, 0) == [0, 2] and kept(0.8, 0) == [0, 2, 3]
    assert kept(0.6, 2) == [0]  # of 0.5 and 0.25 the first is two thirds
    assert kept(0.01, 3) == [0]  # never nothing
    assert torch.equal(truncated(logits, torch.tensor([0.8]), torch.tensor([0]))[0, [0, 2, 3]], logits[0, [0, 2, 3]])


def test_top_p_of_one_keeps_what_is_hardly_likely() -> None:
    """Sums of float32 reach 1 before the last tokens are added."""
    logits = torch.linspace(0, -40, 1000)[torch.randperm(1000, generator=torch.Generator().manual_seed(0))][None]
    for top_k in (0, 600):
        rows = truncated(logits, torch.tensor([1.0]), torch.tensor([top_k]))
        assert rows.isfinite().sum() == (top_k or 1000)


def test_the_inverse_cumulative_distribution_by_hand() -> None:
    probabilities = torch.tensor([0.0, 0.2, 0.0, 0.5, 0.3, 0.0])
    for uniform, token in ((0.0, 1), (0.1999, 1), (0.2001, 3), (0.6999, 3), (0.7001, 4), (1 - 2**-53, 4)):
        drawn = inverse_cdf(probabilities[None], torch.tensor([uniform], dtype=torch.float64))
        assert drawn.tolist() == [token], uniform
    short = torch.tensor([[0.5, 0.25, 0.0]])  # what rounding leaves is shared, and no impossible token is drawn
    assert inverse_cdf(short, torch.tensor([0.9], dtype=torch.float64)).tolist() == [1]


@pytest.mark.parametrize("truncation", [{}, {"top_k": 6}])
def test_tokens_are_as_frequent_as_they_are_likely(truncation: dict[str, Any]) -> None:
    model, count = tiny(vocab_size=12, initializer_range=0.12), 6000
    sampling = Sampling(max_tokens=2, stop_token_ids=(), temperature=1.3, **truncation)
    samples = LocalEngine(model, seed=0, batch_size=2000).generate(
        [Request(f"1/{index}/0", [1, 2], sampling) for index in range(count)]
    )
    request = Request("", [1, 2], sampling)
    first = dense(model, request, samples[0])[0]
    tokens = support(first, 1.0, sampling.top_k)
    probabilities = first[tokens].softmax(0)
    counts = torch.tensor([sum(sample.ids[0] == token for sample in samples) for token in tokens])
    assert counts.sum() == count
    chi_square = ((counts - count * probabilities) ** 2 / (count * probabilities)).sum()
    # Wilson and Hilferty: the cube root is all but normal
    freedom = len(tokens) - 1
    z = ((chi_square / freedom) ** (1 / 3) - 1 + 2 / (9 * freedom)) / math.sqrt(2 / (9 * freedom))
    assert z < 3.5 and probabilities.max() > 1.5 * probabilities.min()
    # two tokens of one request do not depend on each other more than the model says
    likeliest = tokens[int(probabilities.argmax())]
    after = [sample for sample in samples if sample.ids[0] == likeliest]
    second = dense(model, request, after[0])[1]
    kept = support(second, 1.0, sampling.top_k)
    for token, share in zip(kept, second[kept].softmax(0).tolist(), strict=True):
        found = sum(sample.ids[1] == token for sample in after) / len(after)
        assert abs(found - share) < 4 * math.sqrt(share * (1 - share) / len(after))


def test_nothing_is_dropped_while_sampling() -> None:
    model = tiny(attention_dropout=0.5)
    expected = LocalEngine(model, seed=1).generate(mixed())
    model.train()
    same(LocalEngine(model, seed=1).generate(mixed()), expected)
    assert model.training


def test_what_is_told_while_sampling_grows_into_the_samples(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polymath.engine.local.WATCH_SECONDS", -1.0)
    told: dict[int, list[tuple[list[int], bool]]] = {}

    def watch(news: Any) -> None:
        for place, sample, done in news:
            told.setdefault(place, []).append((list(sample.ids), done))

    samples = LocalEngine(model, seed=1, batch_size=9).generate(mixed(), watch)
    for place, sample in enumerate(samples):
        states = told[place]
        assert [len(ids) for ids, _ in states] == list(range(1, len(sample.ids) + 1))
        assert all(ids == sample.ids[: len(ids)] for ids, _ in states)
        assert [done for _, done in states] == [False] * (len(states) - 1) + [True]


def test_a_sample_is_taken_apart_and_put_together() -> None:
    whole = Sample([1, 2, 3], [-0.1, -0.2, -0.3], [[1, 4], [2], [3, 9]])
    part = Sample([1], [-0.1], [[1, 4]])
    part.extend(whole.after(1))
    assert part == whole and whole.after(3) == Sample([], [], [])
    plain = Sample()
    plain.extend(Sample([5], [-1.0]))
    assert plain == Sample([5], [-1.0], None)


def test_episodes_hold_what_was_drawn_for_them(words: Any) -> None:
    tokenizer = words
    model = tiny(vocab_size=len(tokenizer))
    sampling = Sampling(0, (tokenizer.eos_token_id,), temperature=0.9, top_k=20)
    engine = LocalEngine(model, seed=3, batch_size=3)
    prompts = [tokenizer.encode("Ada " * (index + 1), add_special_tokens=False) for index in range(5)]
    episodes = [Episode(f"4/{index}", prompt, "non_think", 3 + 9 * index, "") for index, prompt in enumerate(prompts)]
    asked: list[Request] = []

    def sample(requests: list[Request]) -> list[Sample]:
        asked.extend(requests)
        return engine.generate(requests)

    play(episodes, sample, sampling, tokenizer, V4Format(), engine.max_length)
    assert [request.key for request in asked] == [f"4/{index}/0" for index in range(5)]
    for index, (episode, request) in enumerate(zip(episodes, asked, strict=True)):
        assert request.sampling.max_tokens == 3 + 9 * index and len(episode.ids) == len(episode.logprobs) > 0
        assert episode.mask == [1] * len(episode.ids) and all(len(kept) == 20 for kept in episode.kept)
        rows = dense(model, request, Sample(episode.ids))
        for token, logprob, kept, row in zip(episode.ids, episode.logprobs, episode.kept, rows, strict=True):
            assert logprob == pytest.approx((row[token] - row[kept].logsumexp(0)).item(), abs=1e-5)
