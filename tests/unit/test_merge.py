"""Merging: numbers worked out by hand, adapters against their merged weights, and what cannot be merged."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from transformers import Qwen3Config, Qwen3ForCausalLM

from distill.combine import combine
from distill.merge import run
from distill.merge_config import MergeConfig
from polymath import models
from polymath.run_dir import StageDir
from polymath.stage import StageJob
from polymath.tiny import build_tokenizer

State = dict[str, torch.Tensor]
ORIGIN = torch.tensor([10.0, 10.0, 10.0, 10.0])
ONE, OTHER = ORIGIN + torch.tensor([4.0, -1.0, 3.0, 0.5]), ORIGIN + torch.tensor([-5.0, -3.0, 1.0, 2.0])


@pytest.mark.parametrize(
    ("method", "weights", "density", "expected"),
    [
        ("linear", [3.0, 1.0], None, [11.75, 8.5, 12.5, 10.875]),  # (3 * 14 + 5) / 4, ...
        ("task_arithmetic", [1.0, 1.0], None, [9.0, 6.0, 14.0, 12.5]),
        ("task_arithmetic", [2.0, -1.0], None, [23.0, 11.0, 15.0, 9.0]),
        # Each keeps two changes, [4, 0, 3, 0] and [-5, -3, 0, 0]. Their sum elects the signs -, -, +: the 4 is out, and
        # the mean of one is that one, not half of it.
        ("ties", [1.0, 1.0], 0.5, [5.0, 7.0, 13.0, 10.0]),
        ("ties", [1.0, 0.5], 0.5, [7.5, 8.5, 13.0, 10.0]),
        # All are kept: the sums -1, -4, 4, 2.5 elect; of the first place -5 alone, of the others the mean of both
        ("ties", [1.0, 1.0], 1.0, [5.0, 8.0, 12.0, 11.25]),
        ("dare_ties", [1.0, 1.0], 1.0, [5.0, 8.0, 12.0, 11.25]),
        ("dare_linear", [1.0, 1.0], 1.0, [9.0, 6.0, 14.0, 12.5]),
    ],
)
@pytest.mark.filterwarnings("ignore:The density 1.0")
def test_numbers_by_hand(method: Any, weights: list[float], density: float | None, expected: list[float]) -> None:
    merged = combine(method, ORIGIN, [ONE, OTHER], weights, density)
    assert merged.tolist() == pytest.approx(expected)


def test_dare_keeps_a_share_at_random_and_the_mean() -> None:
    torch.manual_seed(0)
    origin = torch.full((200, 200), 5.0)
    changes = combine("dare_linear", origin, [origin + 1, origin], [1.0, 1.0], 0.25) - origin
    assert set(changes.unique().tolist()) == {0.0, 4.0}  # kept ones are divided by the density
    # 40000 draws: a standard error of 0.0022 of the share, and of 0.0087 of the mean
    assert (changes > 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert changes.mean().item() == pytest.approx(1.0, abs=0.04)


def tiny(seed: int = 0, **settings: Any) -> Any:
    torch.manual_seed(seed)
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "head_dim": 16,
        "vocab_size": 400,
    }
    heads: dict[str, Any] = {"num_attention_heads": 2, "num_key_value_heads": 2, "tie_word_embeddings": True}
    return Qwen3ForCausalLM(Qwen3Config(**(sizes | heads | settings)))


def save(model: Any, folder: Path, tokenizer: Any) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def folders(tmp_path: Path, words: Any) -> dict[str, Path]:
    """`base`, and `plus` and `minus` that differ from it by 1 and -2 in every weight."""
    made = {}
    for name, change in (("base", 0.0), ("plus", 1.0), ("minus", -2.0)):
        model = tiny()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += change
        made[name] = save(model, tmp_path / name, words)
    return made


@pytest.fixture
def adapter(tmp_path: Path, folders: dict[str, Path], words: Any) -> Callable[..., State]:
    """Make `name` an adapter of random numbers on a base, and tell what weights they are together."""

    def make(name: str, on: str = "base", **settings: Any) -> State:
        given = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"} | settings
        model = get_peft_model(models.load_model(folders[on], "float32"), LoraConfig(task_type="CAUSAL_LM", **given))
        torch.manual_seed(len(folders))
        for parameter in model.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.1)
        folders[name] = save(model, tmp_path / name, words)
        return weights(folders[name])

    return make


def weights(folder: Path) -> State:
    """All weights of a folder as `load_model` reads them, an adapter's merged into its base."""
    model = models.load_model(folder, "float32")
    whole = model.merge_and_unload() if models.is_adapter(folder) else model
    return {name: value.clone() for name, value in whole.state_dict().items()}


@pytest.fixture
def merge(tmp_path: Path, folders: dict[str, Path]) -> Callable[..., Path]:
    """Run a stage of these settings; the folder of its model."""

    def merged(seed: int = 0, **settings: Any) -> Path:
        config = MergeConfig.model_validate({"kind": "merge"} | settings)
        read = {name: folders[name] for name in config.parents()}
        job = StageJob("merged", config, tmp_path / "stage", read, {}, {}, "v4", seed, 1, "", {})
        told = []
        run(job, lambda *progress: told.append(progress[:2]))
        assert told == [(1, 1)]
        return StageDir(job.folder).model

    return merged


def assert_same(ours: State, theirs: State) -> None:
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.parametrize(
    ("settings", "change"),
    [
        ({"models": ["plus", "minus"]}, -0.5),
        ({"models": {"plus": 3, "minus": 1}}, 0.25),
        ({"models": {"plus": 0.5, "minus": 0.25}, "method": "task_arithmetic"}, 0.0),
        ({"models": {"plus": 2, "minus": -1}, "method": "task_arithmetic"}, 4.0),
        (
            {"models": ["plus", "minus"], "method": "ties", "density": 1},
            -2.0,
        ),  # the larger sum elects: the other is out
        ({"models": ["base", "minus"]}, -1.0),
    ],
)
@pytest.mark.filterwarnings("ignore:The density 1.0")
def test_whole_models_of_known_differences(
    folders: dict[str, Path], merge: Callable[..., Path], settings: dict[str, Any], change: float
) -> None:
    expected = {name: value + change for name, value in weights(folders["base"]).items()}
    assert_same(weights(merge(**settings)), expected)


def test_the_result_is_a_model_folder_like_any_other(folders: dict[str, Path], merge: Callable[..., Path]) -> None:
    folder = merge(models=["plus", "minus"])
    own, theirs = (models.load_tokenizer(place) for place in (folder, folders["plus"]))
    assert own.chat_template and own.chat_template == theirs.chat_template
    assert own.response_template and own.response_template == theirs.response_template  # type: ignore[attr-defined]
    assert own.get_vocab() == theirs.get_vocab() and own.eos_token == theirs.eos_token
    model = models.load_whole(folder)
    assert model.dtype == torch.float32
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert {path.name for path in folder.iterdir()} == {path.name for path in folders["plus"].iterdir()}


def test_models_in_bfloat16_are_merged_without_rounding(folders: dict[str, Path], merge: Callable[..., Path]) -> None:
    for name in folders:
        models.load_model(folders[name], "bfloat16").save_pretrained(folders[name])
    base, plus, minus = (weights(folders[name]) for name in ("base", "plus", "minus"))
    folder = merge(models={"plus": 0.3, "minus": 0.6}, method="task_arithmetic")
    assert models.load_whole(folder).dtype == torch.float32
    assert_same(weights(folder), {n: base[n] + 0.3 * (plus[n] - base[n]) + 0.6 * (minus[n] - base[n]) for n in base})


def test_dare_is_drawn_from_its_seed_alone(merge: Callable[..., Path]) -> None:
    settings = {"models": ["plus", "minus"], "method": "dare_linear", "density": 0.5}
    before = torch.get_rng_state()
    first = weights(merge(**settings))
    torch.manual_seed(1234)
    again, other = weights(merge(**settings)), weights(merge(seed=1, **settings))
    assert_same(first, again)
    assert any((first[name] != other[name]).any() for name in first)
    torch.set_rng_state(before)
    merge(**settings)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("ranked", [{}, {"use_rslora": True}], ids=["usual", "rslora"])
def test_adapters_become_one_whose_delta_is_the_average(
    adapter: Callable[..., State], merge: Callable[..., Path], ranked: dict[str, Any]
) -> None:
    one, other = adapter("one", **ranked), adapter("other", r=2, **ranked)
    folder = merge(models={"one": 1, "other": 3})
    settings = json.loads((folder / models.ADAPTER_FILE).read_text())
    assert settings["r"] == 6 and not (folder / "model.safetensors").exists()
    assert not [path for path in folder.iterdir() if path.is_dir()]
    assert_same(weights(folder), {name: (one[name] + 3 * other[name]) / 4 for name in one})


def test_an_adapter_may_be_the_origin(adapter: Callable[..., State], merge: Callable[..., Path]) -> None:
    start, one, other = adapter("start"), adapter("one"), adapter("other")
    folder = merge(**{"from": "start"}, models={"one": 0.5, "other": 0.75}, method="task_arithmetic")
    assert models.is_adapter(folder)
    sums = {n: start[n] + 0.5 * (one[n] - start[n]) + 0.75 * (other[n] - start[n]) for n in start}
    assert_same(weights(folder), sums)


def test_adapters_that_train_new_tokens_are_merged_as_whole_models(
    adapter: Callable[..., State], folders: dict[str, Path], merge: Callable[..., Path]
) -> None:
    one, other = (adapter(name, trainable_token_indices={"embed_tokens": [397, 399]}) for name in ("one", "other"))
    row = "model.embed_tokens.weight"
    assert (one[row][399] - other[row][399]).abs().max() > 0.01
    folder = merge(models=["one", "other"])
    assert not models.is_adapter(folder)
    assert {path.name for path in folder.iterdir()} == {path.name for path in folders["plus"].iterdir()}
    assert_same(weights(folder), {name: (one[name] + other[name]) / 2 for name in one})


def test_ties_of_adapters_is_of_what_they_add_to_the_base(
    adapter: Callable[..., State], folders: dict[str, Path], merge: Callable[..., Path]
) -> None:
    base, one, other = weights(folders["base"]), adapter("one"), adapter("other")
    folder = merge(models=["one", "other"], method="ties", density=0.3)
    assert_same(weights(folder), {n: combine("ties", base[n], [one[n], other[n]], [1, 1], 0.3) for n in base})


def test_an_adapter_and_a_whole_model(
    adapter: Callable[..., State], folders: dict[str, Path], merge: Callable[..., Path]
) -> None:
    one, plus = adapter("one"), weights(folders["plus"])
    assert_same(weights(merge(models=["plus", "one"])), {name: (one[name] + plus[name]) / 2 for name in one})


def test_a_vocabulary_of_its_own_is_refused(
    tmp_path: Path, folders: dict[str, Path], merge: Callable[..., Path]
) -> None:
    folders["foreign"] = save(tiny(), tmp_path / "foreign", build_tokenizer(["something else altogether"], 400))
    with pytest.raises(ValueError, match=r"models.foreign: .* are not the same"):
        merge(models=["plus", "foreign"])
    assert not (tmp_path / "stage/model").exists()


@pytest.mark.parametrize("models", [["plus", "odd"], ["odd", "plus"]])
@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"intermediate_size": 64}, r"mlp.down_proj.weight is \[32, \d+\] in '\w+' and \[32, \d+\] in"),
        ({"num_hidden_layers": 2}, r"layers.1.\S+ is \[.*\] in 'odd' and missing in '(plus|base)'"),
        ({"tie_word_embeddings": False}, r"lm_head.weight is \[400, 32\] in 'odd' and missing in '(plus|base)'"),
    ],
    ids=["width", "depth", "head"],
)
def test_other_shapes_are_refused(
    tmp_path: Path, folders: dict[str, Path], merge: Callable[..., Path], words: Any, models: list[str],
    settings: dict[str, Any], says: str,
) -> None:  # fmt: skip
    folders["odd"] = save(tiny(**settings), tmp_path / "odd", words)
    with pytest.raises(ValueError, match=f"models: .*{says}.*train both from one origin"):
        merge(models=models)


def test_adapters_of_another_base_are_refused(adapter: Callable[..., State], merge: Callable[..., Path]) -> None:
    adapter("one")
    adapter("other", on="plus")
    with pytest.raises(ValueError, match=r"'other' is an adapter on \S+plus, and from: 'base' is \S+base: set `from`"):
        merge(models=["one", "other"])


def spoil(path: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> str:
    """Change one tensor of a file; its name."""
    state = load_file(path)
    name = sorted(state)[0]
    save_file(state | {name: change(state[name])}, path, metadata={"format": "pt"})
    return name


@pytest.mark.parametrize("method", ["linear", "task_arithmetic"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(
    folders: dict[str, Path], adapter: Callable[..., State], merge: Callable[..., Path], method: str, value: float
) -> None:
    adapter("one")
    adapter("other")
    for broken, names in (
        (folders["minus"] / "model", "plus minus"),
        (folders["other"] / "adapter_model", "one other"),
    ):
        name = spoil(broken.with_suffix(".safetensors"), lambda tensor: tensor.index_fill(0, torch.tensor([1]), value))
        with pytest.raises(ValueError, match=f"models: {name} of '{names.split()[1]}' has values that are not finite"):
            merge(models=names.split(), method=method)


def test_quantised_weights_are_refused(folders: dict[str, Path], merge: Callable[..., Path]) -> None:
    name = spoil(folders["minus"] / "model.safetensors", lambda tensor: tensor.to(torch.int8))
    with pytest.raises(ValueError, match=f"models: {name} of 'minus' holds torch.int8: quantised"):
        merge(models=["plus", "minus"])


def test_weights_in_no_safetensors_are_refused(folders: dict[str, Path], merge: Callable[..., Path]) -> None:
    (folders["minus"] / "model.safetensors").rename(folders["minus"] / "pytorch_model.bin")
    with pytest.raises(ValueError, match="'minus' has no safetensors in"):
        merge(models=["plus", "minus"])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"models": ["a", "a"]}, "names a stage twice"),
        ({"models": ["a"]}, "at least 2 items"),
        ({"models": []}, "at least 2 items"),
        ({"models": [["a"], "b"]}, "valid dictionary"),
        ({"models": {"a": float("nan"), "b": 1}}, "finite"),
        ({"models": {"a": 1, "b": -1}}, "have to add up to more than 0, and .* do not; method: task_arithmetic"),
        ({"method": "ties"}, "density is missing: ties keeps"),
        ({"method": "dare_linear"}, "density is missing"),
        ({"method": "dare_ties"}, "density is missing"),
        ({"density": 0.5}, "density = 0.5 goes with ties, dare_linear, dare_ties; linear keeps all: take it out"),
        ({"density": 0.5, "method": "task_arithmetic"}, "task_arithmetic keeps all: take it out"),
        ({"density": 0, "method": "ties"}, "greater than 0"),
        ({"density": 1.1, "method": "ties"}, "less than or equal to 1"),
        ({"method": "slerp"}, "'linear', 'task_arithmetic', 'ties', 'dare_linear' or 'dare_ties'"),
        ({"modes": ["high"]}, "a merge neither samples nor trains"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        MergeConfig.model_validate({"models": ["a", "b"]} | settings)


@pytest.mark.parametrize(
    ("method", "each"),
    [("linear", 0.25), ("task_arithmetic", 0.25), ("dare_linear", 0.25), ("ties", 1), ("dare_ties", 1)],
)
def test_a_list_is_the_mean_of_its_models(method: str, each: float) -> None:
    density = {} if method in ("linear", "task_arithmetic") else {"density": 0.5}
    config = MergeConfig.model_validate({"models": list("abcd"), "method": method} | density)
    assert config.models == dict.fromkeys("abcd", each)
    assert config.parents() == ("base", *"abcd")
