"""Settings of the stages that learn from several teachers, and of an `opd` stage."""

from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt, field_validator, model_validator

from polymath.stage import RolloutConfig, Shares, TrainingConfig
from rewards import OwnVerifier, RewardSetting, RubricReward


class TaughtConfig(TrainingConfig):
    """A stage that learns each domain from a teacher of its own."""

    domains: Shares = Field(default_factory=dict, description="Shares of the domains; equal by default.")
    teacher_models: dict[str, str] = Field(min_length=1, description="Domain -> the stage whose model teaches it.")

    @model_validator(mode="before")
    @classmethod
    def _domains_are_those_with_a_teacher(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("teacher_models"), dict):
            return {"domains": list(values["teacher_models"])} | values
        return values

    @model_validator(mode="after")
    def _every_domain_has_one_teacher(self) -> "TaughtConfig":
        if set(self.domains) != set(self.teacher_models):
            raise ValueError(f"domains {list(self.domains)} and teachers {list(self.teacher_models)} are not the same")
        return self

    def parents(self) -> tuple[str, ...]:
        return (self.from_, *self.teacher_models.values())


class OpdConfig(TaughtConfig, RolloutConfig):
    """On-policy distillation: the student samples, and each sample is scored by the teacher of its domain."""

    kind: Literal["opd"] = "opd"
    domain_weights: dict[str, NonNegativeFloat] = Field(
        default_factory=dict, description="Domain -> w_i of the report's equation 29; 1 where not given."
    )
    beta: float = Field(default=1.0, ge=0, le=1, description="1 is the reverse KL, 0 the forward KL, between: JSD.")
    extrapolation: float = Field(
        default=1.0,
        ge=1,
        le=2,
        description="How far to follow a teacher, from what `from` names (ExOPD, arXiv 2602.12125): 1 is to where it "
        "ended, 1.25 beyond; 1.5 was unstable there.",
    )
    estimator: Literal["exact", "sampled", "sampled_baseline", "top_k"] = Field(
        default="exact",
        description="`exact` sums over the vocabulary; the others are estimates of the reverse KL, to compare it with.",
    )
    teacher_top_k: PositiveInt | None = Field(
        default=None, description="Over how many of the teacher's likeliest tokens the estimator `top_k` sums."
    )
    outcome_weight: NonNegativeFloat = Field(
        default=0.0,
        description="How much a completion's reward counts beside its divergence: this times what it is above the mean "
        "of its domain and mode makes its tokens likelier.",
    )
    rewards: tuple[RewardSetting, ...] = Field(
        default=(OwnVerifier(),), min_length=1, description="What completions are worth, with outcome_weight."
    )
    early_stopping_patience: PositiveInt | None = Field(
        default=None,
        description="Logged steps over which a domain's divergence has to fall, or its prompts give their places to "
        "the others'; once no domain's does, the stage ends. Never where not given.",
    )
    early_stopping_threshold: float = Field(
        default=0.02, ge=0, lt=1, description="By which share it has to fall, from so many steps to the next so many."
    )

    num_processes: PositiveInt = Field(
        default=1,
        description="Processes that train together, each on a GPU of its own; per_device_train_batch_size is of each.",
    )
    fsdp: bool = Field(
        default=False,
        description="Leave each process a part of student and teachers (FSDP2), put together layer by layer; else "
        "each has all of them (DDP).",
    )

    def processes(self) -> int:
        return self.num_processes

    @model_validator(mode="after")
    def _processes_can_be_together(self) -> "OpdConfig":
        if self.num_processes > 1 and self.use_vllm and self.vllm_mode == "server":
            raise ValueError("num_processes: each process samples for itself; take out vllm_mode: server")
        if self.fsdp and self.num_processes == 1:
            raise ValueError("fsdp shards over processes: set num_processes as well, or take it out")
        if self.fsdp and not self.use_vllm:
            raise ValueError("fsdp: transformers cannot sample with parts of a model; set use_vllm: true")
        return self

    @model_validator(mode="after")
    def _teachers_say_what_they_learned_to(self) -> "OpdConfig":
        if self.lora and self.lora.load_in_4bit:
            raise ValueError(
                "lora.load_in_4bit: teachers that share the base would be scored in 4 bits too; leave it out"
            )
        return self

    @model_validator(mode="after")
    def _the_head_has_no_adapter(self) -> "OpdConfig":
        if self.lora and "lm_head" in self.lora.target_modules:
            raise ValueError("lora.target_modules: the loss reads the head as it is; take lm_head out")
        return self

    @model_validator(mode="after")
    def _a_domain_stops_early_if_asked_to(self) -> "OpdConfig":
        if self.early_stopping_patience is None:
            if self.early_stopping_threshold != type(self).model_fields["early_stopping_threshold"].default:
                raise ValueError(
                    "early_stopping_threshold does nothing without early_stopping_patience: set it (5, say)"
                )
        elif (needed := 2 * self.early_stopping_patience * self.logging_steps) > self.max_steps:
            raise ValueError(
                f"early_stopping_patience {self.early_stopping_patience} compares {needed} steps, as "
                f"{self.logging_steps} are logged together, and max_steps is {self.max_steps}: lower one of the former"
            )
        return self

    @model_validator(mode="after")
    def _rewards_are_of_what_was_drawn(self) -> "OpdConfig":
        if self.outcome_weight and (self.top_k or self.top_p < 1):
            raise ValueError("outcome_weight needs tokens that can be any: take out top_k and top_p")
        if self.changes("rewards") and not self.outcome_weight:
            raise ValueError("rewards count for nothing without outcome_weight: set it (0.5, say), or take them out")
        return self

    @field_validator("rewards")
    @classmethod
    def _nobody_judges_here(cls, rewards: tuple[RewardSetting, ...]) -> tuple[RewardSetting, ...]:
        if any(isinstance(reward, RubricReward) for reward in rewards):
            raise ValueError("'rubric' needs a judge, which stages of kind grpo have: take it out")
        return rewards

    @model_validator(mode="after")
    def _estimates_are_of_the_reverse_kl(self) -> "OpdConfig":
        if (self.estimator == "top_k") != (self.teacher_top_k is not None):
            raise ValueError("teacher_top_k (64, say) belongs to estimator: top_k; give both, or neither")
        if self.estimator != "exact" and self.beta != 1:
            raise ValueError(f"estimator {self.estimator!r} is of the reverse KL, beta 1; beta is {self.beta:g}")
        if self.estimator.startswith("sampled") and (self.temperature != 1 or self.top_k or self.top_p < 1):
            raise ValueError(
                f"estimator {self.estimator!r} needs tokens that are drawn from the policy as it is: take out "
                "temperature, top_k and top_p, or take the exact one"
            )
        return self

    @model_validator(mode="after")
    def _weights_are_of_domains_with_a_teacher(self) -> "OpdConfig":
        if unknown := set(self.domain_weights) - set(self.teacher_models):
            raise ValueError(f"domain_weights names {sorted(unknown)}, which no teacher has")
        if not any(self.weight(domain) for domain in self.teacher_models):
            raise ValueError("domain_weights are all 0, and nothing would be learned: raise one")
        return self

    def weight(self, domain: str) -> float:
        """w_i of a domain."""
        return self.domain_weights.get(domain, 1.0)
