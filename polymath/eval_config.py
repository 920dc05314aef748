"""Settings of an `eval` stage."""

from typing import Literal

from pydantic import Field, PositiveInt

from polymath.engine.config import EngineConfig
from polymath.hardware import multiplies_in_bfloat16
from polymath.stage import Seed, StageConfig


class EvalConfig(StageConfig, EngineConfig):
    """Scores models on held-out tasks, in every domain and mode."""

    kind: Literal["eval"] = "eval"
    models: tuple[str, ...] = Field(min_length=1, description="The stages (or `base`) whose models are scored.")
    domains: tuple[str, ...] = Field(min_length=1)
    num_prompts: PositiveInt = Field(default=256, description="Held-out tasks for each domain and mode.")
    batch_size: PositiveInt = 512
    temperature: float = Field(default=1.0, ge=0, le=2, description="0 is greedy; the family samples at 1.")
    bf16: bool = Field(
        default_factory=multiplies_in_bfloat16,
        description="bfloat16 products. By default where the machine has it.",
    )
    seed: Seed | None = Field(default=None, description="The recipe's seed where not given.")

    def parents(self) -> tuple[str, ...]:
        return self.models

    def held_out_prompts(self) -> int:
        return self.num_prompts

    def domain_names(self) -> tuple[str, ...]:
        return self.domains
