"""On-policy distillation: one student learns from the specialists of all domains on what it writes itself."""

from typing import cast

from trl.trainer.distillation_config import DistillationConfig

from distill.config import OpdConfig
from distill.teachers import load_teachers
from distill.trainer import MultiTeacherTrainer
from polymath import models
from polymath.data import prompt_dataset
from polymath.stage import StageJob
from polymath.training import Report, prepare, rollout_arguments, rollout_settings, train


def run(job: StageJob, report: Report) -> None:
    """Train on the divergence from each sample's own teacher for `max_steps` steps."""
    config = cast(OpdConfig, job.config)
    materials = prepare(job)
    trainer = MultiTeacherTrainer(
        **rollout_settings(job, materials),
        domain_weights={domain: config.weight(domain) for domain in config.domains},
        model=materials.model,
        args=DistillationConfig(**rollout_arguments(job), beta=config.beta),
        train_dataset=prompt_dataset(materials.rows),
        processing_class=materials.tokenizer,
        peft_config=materials.peft_config,
    )
    trainer.teachers = load_teachers(
        student=trainer.model,
        student_base=models.base_of(job.models[config.from_]),
        folders={domain: job.models[stage] for domain, stage in config.teacher_models.items()},
        dtype=config.dtype,
        device=trainer.accelerator.device,
    )
    train(trainer, job, report)
