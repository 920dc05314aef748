"""Settings of an `off_policy` stage."""

from typing import Literal

from pydantic import Field, PositiveInt

from distill.config import TaughtConfig
from polymath.engine.config import EngineConfig


class OffPolicyConfig(TaughtConfig, EngineConfig):
    """Fine-tuning on what each domain's teacher writes, with TRL's `SFTTrainer`; what tools answer is not trained."""

    kind: Literal["off_policy"] = "off_policy"
    num_samples: PositiveInt = Field(default=1, description="Completions that a teacher writes for each prompt.")
    keep: Literal["verified", "all"] = Field(
        default="verified", description="`verified`: train on what the domain's verifier gives full marks."
    )
    temperature: float = Field(default=1.0, gt=0, le=2)
    generation_batch_size: PositiveInt = Field(
        default=512, description="Completions that are sampled together, verified, and written to samples.jsonl."
    )
    max_length: PositiveInt = Field(
        default=1024,
        description="Longer rows are cut off at the right; one that keeps nothing of its answer is left out.",
    )

    def rows_per_step(self) -> int:
        """Prompts: each is answered `num_samples` times. Where not all is kept, samples are trained on again."""
        return -(-super().rows_per_step() // self.num_samples)
