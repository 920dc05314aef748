"""GRPO: the specialist samples, its rewards score, and what beats its group becomes likelier."""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

from trl.trainer.grpo_config import GRPOConfig as TrlGrpoConfig

from polymath.chat import Format
from polymath.data import held_out_rows, prompt_dataset
from polymath.domains import held_out_tasks
from polymath.run_dir import StageDir
from polymath.stage import StageJob
from polymath.training import (
    AlarmCallback,
    Report,
    draw_rows,
    prepare,
    rollout_arguments,
    rollout_settings,
    tell,
    train,
)
from rewards import Judgment, open_bench
from rewards.gold import CHECKED, check_rewards
from rewards.scorer import Scorer
from rl.alarms import Alarms
from rl.config import GrpoConfig
from rl.hands import Judge
from rl.judge_config import ExternalJudge, FrozenJudge, PolicyJudge
from rl.judges import ExternalModel, FrozenModel
from rl.jury import Jury
from rl.refill import Reserve
from rl.trainer import SpecialistTrainer

RESERVE_STEPS = 8  # prompts that wait to take the place of others, in batches
SAME_NAMES = (
    "num_generations beta epsilon epsilon_high loss_type scale_rewards mask_truncated_completions top_p top_k "
    "use_bias_correction_kl off_policy_mask_threshold "
    "vllm_importance_sampling_correction vllm_importance_sampling_mode "
    "vllm_importance_sampling_clip_max vllm_importance_sampling_clip_min"
)


def run(job: StageJob, report: Report) -> None:
    """Train on the rewards of sampled completions for `max_steps` steps."""
    config = cast(GrpoConfig, job.config)
    folder = StageDir(job.folder)
    materials = prepare(job)
    same = {name: getattr(config, name) for name in SAME_NAMES.split()}
    count = config.rows_per_step() * RESERVE_STEPS if config.max_refills else 0
    reserve = [dict(row) for row in prompt_dataset(draw_rows(job, materials.form, count, "/refill"))] if count else []
    with open_bench(job.extra["sandbox"], folder.sandbox) as bench:
        # what rewards load and start, they load and start here, not in the first step
        check_rewards(config.rewards, job.domains, bench, job.seed, CHECKED)
        scorer = Scorer([*config.rewards, *_of_judging(config)], bench)
        trainer = SpecialistTrainer(
            **rollout_settings(job, materials),
            scorer=scorer,
            reserve=Reserve(reserve, config.max_refills, job.seed),
            jury_for=_jury_for(job, config, scorer, materials.form, report),
            model=materials.model,
            args=TrlGrpoConfig(**_arguments(job, config), **same, reward_weights=scorer.weights()),
            train_dataset=prompt_dataset(materials.rows),
            processing_class=materials.tokenizer,
            peft_config=materials.peft_config,
            callbacks=[AlarmCallback(Alarms(config.alarms, _penalties(job, config)), folder, report)],
        )
        train(trainer, job, report)


def _arguments(job: StageJob, config: GrpoConfig) -> dict[str, Any]:
    """What both on-policy trainers are given, with room for verdicts."""
    arguments = rollout_arguments(job)
    longest = config.judge.max_completion_length if config.judge else 0
    return arguments | {"max_completion_length": max(longest, arguments["max_completion_length"])}


def _of_judging(config: GrpoConfig) -> list[Judgment]:
    """The reward of judging tasks, behind all others."""
    judge = config.judge
    return [Judgment(form=judge.form)] if isinstance(judge, PolicyJudge) and judge.share else []


def _jury_for(
    job: StageJob, config: GrpoConfig, scorer: Scorer, form: Format, report: Report
) -> Callable[[Judge], Jury] | None:
    """Who judges, the policy that it is given or another; None where nobody does."""
    judge = config.judge
    if judge is None:
        return None
    probe = []
    for name in config.domains:
        tasks = held_out_tasks(job.domains[name], judge.trust.probe_prompts, job.seed)
        probe += prompt_dataset(held_out_rows(name, job.domains[name], tasks, job.modes, form))
    alarm = partial(tell, folder=StageDir(job.folder), report=report, total=config.max_steps, metrics={})
    other: Judge | None = None
    if isinstance(judge, FrozenJudge):
        other = FrozenModel(judge, config, job, form)
    if isinstance(judge, ExternalJudge):
        other = ExternalModel(judge)
    return lambda policy: Jury(
        judge, scorer, form, StageDir(job.folder), judge=other or policy, probe=[dict(row) for row in probe], tell=alarm
    )


def _penalties(job: StageJob, config: GrpoConfig) -> dict[str, float | None]:
    """What reasoning costs in each mode; None in one without reasoning, and where no reward makes it cost anything."""
    costs = any(reward.name == "length_penalty" for reward in config.rewards)
    return {
        name: mode.length_penalty if costs and mode.think != "non_think" else None for name, mode in job.modes.items()
    }
