"""What an adapter is put on: whether a model has the modules and parameters that `lora` names."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig as PeftLoraConfig
from peft.tuners.tuners_utils import check_target_module_exists
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from polymath import models
from polymath.source import Problem, nearest
from polymath.stage import ALL_LINEAR, StageJob, TrainingConfig, origin


def check_targets(adapter: PeftLoraConfig, model: Any) -> None:
    """Raise `ValueError` for a target that the model lacks; PEFT passes over it where others are found."""
    for field, fault in _faults(adapter, model):
        raise ValueError(f"lora.{field}: {fault}")


def unknown_targets(jobs: Sequence[StageJob], done: Sequence[str]) -> list[Problem]:
    """The same of stages that have not begun, from the architectures of the models that they go back to."""
    known, found = {job.name: job for job in jobs}, list[Problem]()
    for job in jobs:
        config, model = job.config, origin(job, known).files.model
        if not isinstance(config, TrainingConfig) or config.lora is None or job.name in done or not model.exists():
            continue
        if config.lora.names_targets() and not hands_on_adapter(known[config.from_], known):
            faults = _of_architecture(model, config.lora.target_modules, config.lora.target_parameters)
            found += [Problem(("stages", job.name, "lora", field), fault) for field, fault in faults]
    return found


def hands_on_adapter(job: StageJob, known: Mapping[str, StageJob]) -> bool:
    """Whether what a stage hands over is an adapter, which goes on as it is, or may be one, as of a merge."""
    if isinstance(job.config, TrainingConfig):
        return job.config.lora is not None or hands_on_adapter(known[job.config.from_], known)
    return any(hands_on_adapter(known[name], known) for name in job.models) or models.is_adapter(job.files.model)


@cache
def _of_architecture(
    folder: Path, targets: str | tuple[str, ...], parameters: tuple[str, ...]
) -> list[tuple[str, str]]:
    """Fields and faults; nothing but names is needed, so that no weights are read."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    modules = targets if isinstance(targets, str) else list(targets)
    return list(_faults(PeftLoraConfig(target_modules=modules, target_parameters=list(parameters)), model))


def _faults(adapter: PeftLoraConfig, model: Any) -> Iterator[tuple[str, str]]:
    targets, parameters = adapter.target_modules or (), tuple(adapter.target_parameters or ())
    names = [name for name, _ in model.named_modules()]
    linear = sorted({_last(name) for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)})
    if not targets and not parameters:
        yield "target_modules", f"names no module; known are {', '.join(linear)}"
    if not isinstance(targets, str):
        faults = list(_of_names(targets, names, linear))
    else:
        faults = [] if _is_all_linear(adapter) else list(_of_pattern(targets, names, linear))
    yield from (("target_modules", fault) for fault in faults)
    adapted = set[str]() if faults else _adapted(adapter, model)
    yield from (("target_parameters", fault) for fault in _of_parameters(parameters, adapted, model))


def _is_all_linear(adapter: PeftLoraConfig) -> bool:
    return isinstance(adapter.target_modules, str) and adapter.target_modules.lower() == ALL_LINEAR


def _adapted(adapter: PeftLoraConfig, model: Any) -> set[str]:
    """Modules that `target_modules` puts an adapter on."""
    if not _is_all_linear(adapter):
        return {name for name, _ in model.named_modules() if check_target_module_exists(adapter, name)}
    head = model.get_output_embeddings()  # what PEFT leaves out
    linear = ((name, own) for name, own in model.named_modules() if isinstance(own, torch.nn.Linear | Conv1D))
    return {name for name, own in linear if own is not head}


def _of_parameters(targets: tuple[str, ...], adapted: set[str], model: Any) -> Iterator[str]:
    dimensions = {name: own.ndim for name, own in model.named_parameters()}
    names = list(dimensions)
    known = sorted({".".join(name.split(".")[-3:]) for name in names if _last(name) not in ("weight", "bias")})
    for target in targets:
        if not any(_ends(name, target) for name in names):
            meant = "; they are for experts that a model keeps in one parameter, others are named in target_modules"
            yield f"no parameter of the model is called {target!r}{nearest(target, known) if known else meant}"
        yield from islice(_unadaptable(target, adapted, dimensions), 1)  # of layers that are alike


def _unadaptable(target: str, adapted: set[str], dimensions: Mapping[str, int]) -> Iterator[str]:
    """What PEFT refuses: it wraps the module that holds a parameter, which nothing else may have wrapped."""
    for name, own in dimensions.items():
        module = name.rpartition(".")[0]
        if not _ends(name, target):
            continue
        if own not in (2, 3):
            yield f"{target!r} has {own} dimension{'s' * (own != 1)}, and PEFT adapts those of 2 or 3: leave it out"
        elif module in adapted:
            yield (
                f"{target!r} is of a module that target_modules puts an adapter on already: leave it out here; that "
                f"module alone is adapted with target_modules: [{_last(module)}]"
            )


def _of_names(targets: Iterable[str], names: list[str], linear: list[str]) -> Iterator[str]:
    for target in sorted(targets):  # PEFT keeps them as a set
        if not any(_ends(name, target) for name in names):
            yield f"no module of the model is called {target!r}{nearest(_last(target), linear)}"


def _of_pattern(pattern: str, names: list[str], linear: list[str]) -> Iterator[str]:
    """PEFT reads one text as a regular expression, and holds it against whole names."""
    try:
        found = any(re.fullmatch(pattern, name) for name in names)
    except re.error as error:
        yield f"found {pattern!r}, which is no regular expression: {error}"
        return
    if not found:
        meant = f"; did you mean [{pattern}]?" if pattern in linear else nearest(_last(pattern), linear)
        yield f"found {pattern!r}, a regular expression that no module's whole name matches{meant}"


def _ends(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def _last(name: str) -> str:
    return name.rpartition(".")[2]
