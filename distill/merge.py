"""The `merge` stage: one model of several that were trained from one origin, without training.

Adapters on one base that are LoRA and nothing else, merged by `linear` or `task_arithmetic`, become one adapter by
PEFT's `cat`: their matrices side by side, with the sum of their ranks, which is exactly the weighted sum of what each
adds to the base. PEFT's `linear`, `ties` and `dare_*` of adapters merge the two factors apart, and the product of sums
is not the sum of products; its `*_svd` cut the sum down to a lower rank. So for all else an adapter is first merged
into its base, and whole weights are merged, parameter by parameter, with no more in memory than the result and one
parameter of each model, once one of them has been loaded to see that it is whole.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub import save_torch_state_dict
from peft import PeftConfig
from safetensors import safe_open
from transformers import AutoConfig

from distill.adapters import is_plain
from distill.combine import combine, delta_weights
from distill.merge_config import MergeConfig
from distill.teachers import check_vocabularies
from polymath import models
from polymath.run_dir import StageDir, whole_folder
from polymath.stage import StageJob
from polymath.training import Report, peak_memory


def run(job: StageJob, report: Report) -> None:
    """Merge the models of `config.models` and write the result as any stage's."""
    config, folder = cast(MergeConfig, job.config), StageDir(job.folder)
    folders = {name: job.models[name] for name in config.parents()}
    check_vocabularies(folders[config.from_], {f"models.{name}": own for name, own in folders.items()})
    check_bases(folders, config.from_)
    with whole_folder(folder.model) as target:
        if config.method in ("linear", "task_arithmetic") and can_stay_adapters(folders, config):
            merge_adapters(folders, config, target)
        else:
            merge_whole(folders, config, job.seed, target)
        models.load_tokenizer(folders[next(iter(config.models))]).save_pretrained(target)
    folder.update_state(peak_memory_bytes=peak_memory())
    report(1, 1, {})


def check_bases(folders: Mapping[str, Path], origin: str) -> None:
    """Raise `ValueError` where an adapter sits on another base than the origin, or is the origin's base."""
    base = models.base_of(folders[origin])
    for name, folder in folders.items():
        if models.is_adapter(folder) and (own := models.base_of(folder)) != base:
            raise ValueError(
                f"models: {name!r} is an adapter on {own}, and from: {origin!r} is {base}: set `from` to the stage "
                "whose weights the adapters share, or train them on it"
            )


def can_stay_adapters(folders: Mapping[str, Path], config: MergeConfig) -> bool:
    """Whether all that is merged are matrices of LoRA on one base; the origin may be that base itself."""
    own = [folders[name] for name in config.models]
    if models.is_adapter(folders[config.from_]):
        own.append(folders[config.from_])
    return all(models.is_adapter(folder) and _is_lora_alone(folder) for folder in own)


def _is_lora_alone(folder: Path) -> bool:
    return is_plain(folder) and not cast(Any, PeftConfig.from_pretrained(str(folder))).trainable_token_indices


def merge_adapters(folders: Mapping[str, Path], config: MergeConfig, target: Path) -> None:
    """Write the adapter whose difference from the base is the weighted sum of those of `config.models`."""
    of_origin, weights = delta_weights(config.method, list(config.models.values()))
    parts = list(zip(config.models, weights, strict=True))
    if models.is_adapter(folders[config.from_]) and of_origin:
        parts.append((config.from_, of_origin))
    model = models.load_model(models.base_of(folders[config.from_]), "float32")
    names = [f"part{place}" for place in range(len(parts))]
    for name, (stage, _) in zip(names, parts, strict=True):
        Stored(stage, folders[stage]).check_finite()
        model = models.with_adapter(model, folders[stage], name)
    # PEFT copies these settings with lora_alpha = r, a scale of 1, and to the root of r it would be another
    model.peft_config[names[0]].use_rslora = False
    model.add_weighted_adapter(names, [weight for _, weight in parts], "default", combination_type="cat")
    model.save_pretrained(str(target), selected_adapters=["default"])


def merge_whole(folders: Mapping[str, Path], config: MergeConfig, seed: int, target: Path) -> None:
    """Write whole weights in float32, merged one parameter after the other."""
    scratch = target / "whole"
    stored = {name: Stored(name, _whole(folder, scratch / name)) for name, folder in folders.items()}
    origin, parts = stored[config.from_], [stored[name] for name in config.models]
    models.load_whole(parts[0].folder)  # raises where its settings ask for more than it holds
    check_shapes(parts[0], origin)  # which may hold more: a tied head that was written twice
    for other in parts[1:]:
        check_shapes(parts[0], other)
        check_shapes(other, parts[0])
    merged = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name in sorted(parts[0].shapes):
            values = [part.read(name) for part in parts]
            weights = list(config.models.values())
            merged[name] = combine(config.method, origin.read(name), values, weights, config.density)
    save_torch_state_dict(merged, target)
    _write_settings(parts[0].folder, target)
    shutil.rmtree(scratch, ignore_errors=True)


def _whole(folder: Path, scratch: Path) -> Path:
    """A folder of whole weights: an adapter is merged into its base, in `scratch`."""
    if not models.is_adapter(folder):
        return folder
    models.load_model(folder, "float32").merge_and_unload().save_pretrained(scratch)
    return scratch


def _write_settings(source: Path, target: Path) -> None:
    """The model's settings, in the type of the merged weights, and its settings of sampling."""
    settings = AutoConfig.from_pretrained(source)
    settings.dtype = torch.float32
    settings.save_pretrained(target)
    if (generation := source / "generation_config.json").exists():
        shutil.copy(generation, target)


def check_shapes(first: "Stored", other: "Stored") -> None:
    """Raise `ValueError` where a parameter of `first` is another in `other`, or not there."""
    for name, shape in first.shapes.items():
        theirs = other.shapes.get(name)
        if theirs != shape:
            raise ValueError(
                f"models: {name} is {shape} in {first.name!r} and {theirs or 'missing'} in {other.name!r}: only models "
                "of one architecture can be merged; train both from one origin"
            )


class Stored:
    """The weights of a folder, or its adapter's, which are read one at a time."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        start = "adapter_model" if models.is_adapter(folder) else "model"
        with models.reading(f"models: {name!r} in {folder}"):
            files = [safe_open(path, "pt") for path in sorted(folder.glob(f"{start}*.safetensors"))]
        if not files:
            raise ValueError(f"models: {name!r} has no safetensors in {folder}; save its weights as such")
        self._files: dict[str, Any] = {key: file for file in files for key in file.keys()}  # noqa: SIM118
        self.shapes: dict[str, list[int]] = {key: file.get_slice(key).get_shape() for key, file in self._files.items()}

    def read(self, name: str) -> torch.Tensor:
        """One tensor as float32. Raises `ValueError` where it has values that are not finite, or whole numbers."""
        tensor = self._files[name].get_tensor(name)
        if not tensor.is_floating_point():
            raise ValueError(
                f"models: {name} of {self.name!r} holds {tensor.dtype}: quantised weights cannot be merged"
            )
        if not tensor.isfinite().all():
            raise ValueError(
                f"models: {name} of {self.name!r} has values that are not finite; train it again, or leave it out"
            )
        return tensor.float()

    def check_finite(self) -> None:
        """Raise what `read` raises, of all tensors."""
        for name in self.shapes:
            self.read(name)
