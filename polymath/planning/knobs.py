"""Which settings to change so that a stage fits: those that cost least come first, and each as mildly as it can."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from polymath.eval_config import EvalConfig
from polymath.planning.estimate import needs
from polymath.planning.need import Lengths, Machine, Need, Remedy, Survey
from polymath.stage import LoraConfig, StageJob, TrainingConfig

Settings = dict[str, Any]
LENGTHS: tuple[Lengths, Lengths] = "most", "least"
LEAST_SHARE = 0.15  # of a GPU, that vLLM is left


def survey(jobs: Sequence[StageJob], machine: Machine) -> Survey:
    """What all stages need, and what to change in those that do not fit."""
    most, least = (needs(jobs, machine, lengths) for lengths in LENGTHS)
    lacking = {need.stage for need in most if not need.fits(machine)}
    return Survey(most, least, {job.name: remedy(jobs, job, machine) for job in jobs if job.name in lacking})


def remedy(jobs: Sequence[StageJob], job: StageJob, machine: Machine) -> Remedy | None:
    """The settings with which a stage fits, or comes nearest to it; None where none helps."""
    settings: Settings = {}
    best = _with(jobs, job, settings, machine)
    for knob in KNOBS:
        options = list(knob(job.config, machine))
        if not options or (tried := _with(jobs, job, settings | options[-1], machine)).total() >= best.total():
            continue
        if tried.fits(machine):
            mildest = bisect_left(
                options, True, key=lambda own: _with(jobs, job, settings | own, machine).fits(machine)
            )
            settings = settings | options[mildest]
            return Remedy(job.name, settings, _with(jobs, job, settings, machine))
        settings, best = settings | options[-1], tried
    return Remedy(job.name, settings, best) if settings else None


def _with(jobs: Sequence[StageJob], job: StageJob, settings: Settings, machine: Machine) -> Need:
    own = replace(job, config=job.config.model_copy(update=settings))
    others = [own if other.name == job.name else other for other in jobs]
    return next(need for need in needs(others, machine, "most", only=job.name))


# Each tells what to set, from the mildest to the strongest


def _smaller_micro_batches(config: Any, machine: Machine) -> Iterator[Settings]:
    """The same batch in more parts."""
    if not isinstance(config, TrainingConfig):
        return
    size, parts = config.per_device_train_batch_size, config.gradient_accumulation_steps
    while size % 2 == 0:
        size, parts = size // 2, parts * 2
        yield {"per_device_train_batch_size": size, "gradient_accumulation_steps": parts}


def _fewer_at_once(config: Any, machine: Machine) -> Iterator[Settings]:
    """What is scored in more parts; vLLM's keys have the same room for any number."""
    size = config.batch_size if isinstance(config, EvalConfig) and not config.use_vllm else 1
    while size > 1:
        size //= 2
        yield {"batch_size": size}


def _sleeping_engine(config: Any, machine: Machine) -> Iterator[Settings]:
    if machine.on_gpu and getattr(config, "use_vllm", False) and config.vllm_mode == "colocate":
        yield {"vllm_enable_sleep_mode": True}


def _smaller_engine(config: Any, machine: Machine) -> Iterator[Settings]:
    if machine.on_gpu and getattr(config, "use_vllm", False) and config.vllm_gpu_memory_utilization > LEAST_SHARE:
        yield {"vllm_gpu_memory_utilization": LEAST_SHARE}


def _checkpointing(config: Any, machine: Machine) -> Iterator[Settings]:
    if isinstance(config, TrainingConfig):
        yield {"gradient_checkpointing": True}


def _smaller_weights(config: Any, machine: Machine) -> Iterator[Settings]:
    """Of a base that does not train."""
    if isinstance(config, TrainingConfig) and config.lora:
        yield {"dtype": "bfloat16"}


def _adapter(config: Any, machine: Machine) -> Iterator[Settings]:
    if isinstance(config, TrainingConfig) and config.lora is None:
        yield {"lora": LoraConfig(), "dtype": "bfloat16"}


KNOBS: Sequence[Callable[[Any, Machine], Iterator[Settings]]] = (
    _smaller_micro_batches,
    _fewer_at_once,
    _sleeping_engine,
    _checkpointing,
    _smaller_weights,
    _smaller_engine,
    _adapter,
)
