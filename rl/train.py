"""GRPO: the specialist samples, its verifier scores, and what beats its group becomes likelier."""

from typing import cast

from trl.trainer.grpo_config import GRPOConfig as TrlGrpoConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from polymath.data import prompt_dataset
from polymath.rollouts import RolloutMixin
from polymath.run_dir import StageDir
from polymath.stage import StageJob
from polymath.training import Report, prepare, rollout_arguments, train
from rl.config import GrpoConfig
from rl.rewards import length_reward, verifier


class SpecialistTrainer(RolloutMixin, GRPOTrainer):
    """TRL's trainer on rows; a group is one prompt in one think mode, so advantages never mix modes."""

    _gives_logprobs = True


def run(job: StageJob, report: Report) -> None:
    """Train on the rewards of sampled completions for `max_steps` steps."""
    config = cast(GrpoConfig, job.config)
    materials = prepare(job)
    same_names = "num_generations beta epsilon epsilon_high loss_type scale_rewards mask_truncated_completions"
    trainer = SpecialistTrainer(
        form=materials.form,
        model=materials.model,
        args=TrlGrpoConfig(**rollout_arguments(job), **{name: getattr(config, name) for name in same_names.split()}),
        reward_funcs=[
            verifier(materials.form, StageDir(job.folder)),
            length_reward(materials.tokenizer, job.modes, config.length_norm, config.length_penalty_max),
        ],
        train_dataset=prompt_dataset(materials.rows),
        processing_class=materials.tokenizer,
        peft_config=materials.peft_config,
    )
    train(trainer, job, report)
