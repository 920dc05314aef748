"""GRPO: the specialist samples, its rewards score, and what beats its group becomes likelier."""

import time
from typing import Any, cast

from trl.trainer.grpo_config import GRPOConfig as TrlGrpoConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from polymath.data import prompt_dataset
from polymath.rollouts import RolloutMixin
from polymath.run_dir import StageDir
from polymath.stage import StageJob
from polymath.training import KEPT_A_STEP, Report, prepare, rollout_arguments, train, write_rollouts
from rewards import open_bench
from rewards.gold import CHECKED, check_rewards
from rl.config import GrpoConfig
from rl.rewards import Scorer


class SpecialistTrainer(RolloutMixin, GRPOTrainer):
    """TRL's trainer on rows; a group is one prompt in one think mode, so advantages never mix modes."""

    _gives_logprobs = True

    def __init__(self, *, scorer: Scorer, folder: StageDir, **kwargs: Any) -> None:
        super().__init__(reward_funcs=scorer.functions(), **kwargs)
        self.scorer, self.folder = scorer, folder

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Any:
        started = time.perf_counter()
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        metrics = cast(Any, self)._metrics["train"]
        for name, value in (self.scorer.part_means() | {"time/rewards": time.perf_counter() - started}).items():
            metrics[name].append(value)
        self._keep_some(inputs)
        return rewards

    def _keep_some(self, rows: list[dict[str, Any]]) -> None:
        kept = [
            {"prompt": rows[place]["prompt"], "turns": self._episodes[place].turns, "rewards": self.scorer.told(place)}
            for place in range(0, len(rows), len(rows) // KEPT_A_STEP or 1)
        ]
        write_rollouts(self.folder, cast(Any, self).state.global_step + 1, kept)


def run(job: StageJob, report: Report) -> None:
    """Train on the rewards of sampled completions for `max_steps` steps."""
    config = cast(GrpoConfig, job.config)
    folder = StageDir(job.folder)
    materials = prepare(job)
    same_names = "num_generations beta epsilon epsilon_high loss_type scale_rewards mask_truncated_completions"
    same = {name: getattr(config, name) for name in same_names.split()}
    with open_bench(job.extra["sandbox"], folder.sandbox) as bench:
        # what rewards load and start, they load and start here, not in the first step
        check_rewards(config.rewards, job.domains, bench, job.seed, CHECKED)
        scorer = Scorer(config.rewards, bench)
        trainer = SpecialistTrainer(
            form=materials.form,
            scorer=scorer,
            folder=folder,
            model=materials.model,
            args=TrlGrpoConfig(**rollout_arguments(job), **same, reward_weights=scorer.weights()),
            train_dataset=prompt_dataset(materials.rows),
            processing_class=materials.tokenizer,
            peft_config=materials.peft_config,
        )
        train(trainer, job, report)
