"""Supervised fine-tuning: the model learns to write the demonstrations of its domains."""

from typing import cast

from trl.trainer.sft_config import SFTConfig as TrlSftConfig
from trl.trainer.sft_trainer import SFTTrainer

from polymath.data import demonstration_dataset
from polymath.stage import StageJob
from polymath.training import Report, prepare, tell_left_out, train, training_arguments
from sft.config import SftConfig


def run(job: StageJob, report: Report) -> None:
    """Train on `num_rows` demonstrations for `max_steps` steps."""
    config = cast(SftConfig, job.config)
    materials = prepare(job)
    dataset = demonstration_dataset(materials.rows, materials.tokenizer)
    tell_left_out(dataset, config.max_length, config.max_steps, report)
    trainer = SFTTrainer(
        model=materials.model,
        args=TrlSftConfig(**training_arguments(job), max_length=config.max_length, completion_only_loss=True),
        train_dataset=dataset,
        processing_class=materials.tokenizer,
        peft_config=materials.peft_config,
    )
    train(trainer, job, report)
