"""Settings of an `sft` stage."""

from typing import Literal

from pydantic import Field, PositiveInt

from polymath.stage import TrainingConfig


class SftConfig(TrainingConfig):
    """Supervised fine-tuning with TRL's `SFTTrainer`; only the demonstration's tokens are trained."""

    kind: Literal["sft"] = "sft"
    max_length: PositiveInt = Field(
        default=1024,
        description="Longer rows are cut off at the right; one that keeps nothing of its answer is left out.",
    )
