"""On-policy distillation: one student learns from the specialists of all domains on what it writes itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
from peft.utils.other import TrainableTokensWrapper
from torch.distributed.fsdp import MixedPrecisionPolicy
from trl.trainer.distillation_config import DistillationConfig

from distill.config import OpdConfig
from distill.estimates import estimate_named
from distill.manifest import MANIFEST_FILE, ManifestCallback, check_manifest, manifest_of
from distill.outcome import Outcome
from distill.teachers import ModelTeacher, ShardedTeacher, check_vocabularies, load_teachers
from distill.trainer import START, MultiTeacherTrainer
from distill.watch import TeacherWatch
from polymath import models
from polymath.data import prompt_dataset
from polymath.run_dir import write_json
from polymath.stage import StageJob
from polymath.training import (
    AlarmCallback,
    Report,
    last_checkpoint,
    prepare,
    rollout_arguments,
    rollout_settings,
    train,
)
from rewards.gold import CHECKED, check_rewards
from rewards.scorer import Scorer


def run(job: StageJob, report: Report) -> None:
    """Train on the divergence from each sample's own teacher for `max_steps` steps."""
    config = cast(OpdConfig, job.config)
    folder = job.files
    folders = {domain: job.models[stage] for domain, stage in config.teacher_models.items()}
    check_vocabularies(job.models[config.from_], {f"teacher_models.{name}": own for name, own in folders.items()})
    start = {START: job.models[config.from_]} if config.extrapolation != 1 else {}
    manifest = manifest_of(folders | start)
    if checkpoint := last_checkpoint(folder.checkpoints):
        check_manifest(checkpoint, manifest)
    materials = prepare(job)
    watch = TeacherWatch(
        [*folders], config.early_stopping_patience, config.early_stopping_threshold, config.extrapolation
    )
    with _outcome(job, config) as outcome:
        trainer = MultiTeacherTrainer(
            **rollout_settings(job, materials),
            domain_weights={domain: config.weight(domain) for domain in folders},
            watch=watch,
            estimate=estimate_named(config.estimator, config.teacher_top_k),
            extrapolation=config.extrapolation,
            outcome=outcome,
            model=materials.model,
            args=DistillationConfig(**rollout_arguments(job), **_sharding(config), beta=config.beta),
            train_dataset=prompt_dataset(materials.rows),
            processing_class=materials.tokenizer,
            peft_config=materials.peft_config,
            callbacks=[AlarmCallback(watch, folder, report), ManifestCallback(folder.checkpoints, manifest)],
        )
        if config.fsdp:
            _check_shards(trainer.model)
            # types are autocast's affair, as with one process
            cast(Any, trainer.accelerator.state).fsdp_plugin.mixed_precision_policy = MixedPrecisionPolicy()
        load = partial(
            load_teachers,
            student=trainer.model,
            student_base=models.base_of(job.models[config.from_]),
            dtype=config.dtype,
            device=trainer.accelerator.device,
            products=torch.bfloat16 if config.bf16 else torch.float32,
            kind=ShardedTeacher if config.fsdp else ModelTeacher,
        )
        trainer.teachers = load(folders=folders)
        trainer.start = load(folders=start) if start else []
        train(trainer, job, report)
        if trainer.is_world_process_zero():
            write_json(folder.model / MANIFEST_FILE, manifest)


@contextmanager
def _outcome(job: StageJob, config: OpdConfig) -> Iterator[Outcome | None]:
    """What completions are worth, where that counts, with a bench to find out for as long as the context is open."""
    if not config.outcome_weight:
        yield None
        return
    with job.extra["open_bench"](job.extra["sandbox"], job.files.sandbox) as bench:
        check_rewards(config.rewards, job.domains, bench, job.seed, CHECKED)
        yield Outcome(Scorer(config.rewards, bench), config.outcome_weight)


def _check_shards(student: Any) -> None:
    """Rows of the vocabulary that an adapter trains stand in two modules, which would be two shards of one weight."""
    if any(isinstance(module, TrainableTokensWrapper) for module in student.modules()):
        raise ValueError(
            "fsdp: the adapter trains tokens that the vocabulary was given, and their rows cannot be sharded: take "
            "fsdp out (each process has all of the model then), or leave them as they are, lora.train_new_tokens: false"
        )


def _sharding(config: OpdConfig) -> dict[str, Any]:
    """What transformers is told of several processes."""
    if not config.fsdp:
        return {"ddp_find_unused_parameters": False} if config.num_processes > 1 else {}
    return {"fsdp": True, "fsdp_config": {"version": 2}}
