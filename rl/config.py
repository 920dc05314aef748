"""Settings of a `grpo` stage."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from polymath.stage import RolloutConfig
from rewards import LengthPenalty, OwnVerifier, RewardSetting, RubricReward
from rl.alarms import AlarmConfig
from rl.judge_config import FrozenJudge, Judge, PolicyJudge

Mode = Literal["token_truncate", "token_mask", "sequence_truncate", "sequence_mask"]  # TRL's


class GrpoConfig(RolloutConfig):
    """GRPO with TRL's `GRPOTrainer`; one prompt in one think mode is one group."""

    kind: Literal["grpo"] = "grpo"
    num_generations: int = Field(default=8, ge=2, description="Completions sampled for each prompt.")
    beta: float = Field(default=0.0, ge=0, description="Weight of the KL to the model that the stage starts from.")
    epsilon: float = Field(default=0.2, gt=0)
    epsilon_high: float | None = Field(default=None, gt=0)
    loss_type: Literal["grpo", "dr_grpo", "dapo", "bnpo", "cispo"] = "dapo"
    scale_rewards: Literal["group", "batch", "none"] = Field(
        default="none", description="`none`: advantages are not divided by a deviation (V3.2 report, section 3.1)."
    )
    mask_truncated_completions: bool = False
    use_bias_correction_kl: bool = Field(
        default=True,
        description="KL times the importance ratio: its gradient is unbiased (V3.2 report, section 3.1).",
    )
    off_policy_mask_threshold: float | None = Field(
        default=0.1,
        gt=0,
        description="Leave out completions of negative advantage whose mean log-ratio of engine and learner is larger.",
    )
    vllm_importance_sampling_correction: bool = Field(
        default=True, description="Weight the loss for what engine and learner disagree about."
    )
    vllm_importance_sampling_mode: Mode = "sequence_mask"
    vllm_importance_sampling_clip_max: float | None = Field(default=3.0, ge=1, description="1 is no disagreement.")
    vllm_importance_sampling_clip_min: float | None = Field(default=None, gt=0, le=1)
    max_refills: int = Field(
        default=1,
        ge=0,
        description="How often in a step groups whose rewards are all equal give their place to other prompts.",
    )
    alarms: AlarmConfig = Field(default=AlarmConfig(), description="When a run is reported to go wrong.")
    rewards: tuple[RewardSetting, ...] = Field(
        default=(OwnVerifier(), LengthPenalty()),
        min_length=1,
        description="What completions are worth, summed with weights: names, with arguments where they differ from the "
        "usual ones, or `module:function` of your own.",
    )
    judge: Judge | None = Field(
        default=None,
        description="Who says what `rubric` is worth: the policy itself, which learns it with the rest, or another "
        "model, `kind: frozen` or `external`.",
    )

    @model_validator(mode="after")
    def _a_judge_is_asked(self) -> "GrpoConfig":
        rubrics = sum(isinstance(reward, RubricReward) for reward in self.rewards)
        if self.judge is None and rubrics:
            raise ValueError("the reward 'rubric' needs a judge: add `judge: {}`, which has the usual settings")
        if self.judge is not None and rubrics != 1:
            raise ValueError(f"judge is asked for the reward 'rubric', and rewards has {rubrics} of it in place of 1")
        if self.judge is not None and self.judge.responses > self.num_generations:
            raise ValueError(
                f"judge.responses = {self.judge.responses} completions of a group are shown at a time, and "
                f"num_generations = {self.num_generations} are all that it has"
            )
        if isinstance(self.judge, PolicyJudge) and self.judge.share and self.rows_per_step() < 2:
            raise ValueError(
                "judge.share: a batch of one group has no place for judging tasks; raise the batch, or set 0"
            )
        if isinstance(self.judge, PolicyJudge) and self.judge.share and self.scale_rewards == "batch":
            raise ValueError(
                "scale_rewards 'batch' divides answers and judging tasks by one deviation: take 'group' or 'none'"
            )
        return self

    @model_validator(mode="after")
    def _a_judge_writes_what_is_not_there(self) -> "GrpoConfig":
        has_one = any(isinstance(reward, RubricReward) and reward.rubric for reward in self.rewards)
        if self.judge is not None and self.judge.writes_rubrics and has_one:
            raise ValueError("judge.writes_rubrics: the reward 'rubric' has one, so none is written: leave one out")
        return self

    def held_out_prompts(self) -> int:
        return self.judge.trust.probe_prompts if self.judge else 0

    def parents(self) -> tuple[str, ...]:
        return (*super().parents(), *([self.judge.from_] if isinstance(self.judge, FrozenJudge) else []))

    @field_validator("rewards")
    @classmethod
    def _something_is_rewarded(cls, rewards: tuple[RewardSetting, ...]) -> tuple[RewardSetting, ...]:
        if not any(reward.weight for reward in rewards):
            raise ValueError("the weight of each is 0, so that there is nothing to learn: give one of them another")
        return rewards

    @field_validator("rewards")
    @classmethod
    def _correctness_counts_once(cls, rewards: tuple[RewardSetting, ...]) -> tuple[RewardSetting, ...]:
        names = {reward.name for reward in rewards}
        if {"verifier", "l1_max"} <= names:
            raise ValueError("'l1_max' is the verifier's reward times a length; take 'verifier' out")
        return rewards

    def rows_per_step(self) -> int:
        """Prompts in a mode: each stands in a batch `num_generations` times."""
        return super().rows_per_step() // self.num_generations

    def modes_per_task(self, modes: int) -> int:
        """Each prompt is sampled in every mode."""
        return modes

    @model_validator(mode="after")
    def _batch_holds_whole_groups(self) -> "GrpoConfig":
        batch = super().rows_per_step()
        if batch % self.num_generations:
            raise ValueError(
                f"per_device_train_batch_size * gradient_accumulation_steps = {batch} is no multiple of "
                f"num_generations = {self.num_generations}: a batch holds whole groups"
            )
        return self
