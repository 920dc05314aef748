"""Settings of a `merge` stage."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, model_validator

from polymath.stage import BASE, Seed, StageConfig

Method = Literal["linear", "task_arithmetic", "ties", "dare_linear", "dare_ties"]  # PEFT's
SPARSE = ("ties", "dare_linear", "dare_ties")  # keep a fraction of what the models learned
AVERAGING = ("ties", "dare_ties")  # divide by the number of models that agree in sign; the others sum


def _as_weights(value: Any, info: ValidationInfo) -> Any:
    """A list is the mean of its models; other faults are left to pydantic."""
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        return value
    if len(set(value)) < len(value):
        raise ValueError(f"found {list(value)!r}, which names a stage twice; give weights instead: {{stage: 2}}")
    each = 1.0 if info.data.get("method") in AVERAGING else 1 / max(1, len(value))
    return dict.fromkeys(value, each)


class MergeConfig(StageConfig):
    """One model of several without training, by the weights of each; methods are named as in PEFT.

    A list of `models` has equal weights: 1/n, or 1 where the method itself takes the mean (`ties`, `dare_ties`), as in
    its paper. `linear` divides weights by their sum. With weights whose sum is 1, `task_arithmetic` is the same as
    `linear`; above that it goes further than the mean.
    """

    kind: Literal["merge"] = "merge"
    from_: str = Field(
        default=BASE,
        alias="from",
        description="The stage that all were trained from; what they learned since is merged.",
    )
    method: Method = "linear"
    # after `method`, which says what a list means
    models: Annotated[
        dict[str, float], BeforeValidator(_as_weights, json_schema_input_type=list[str] | dict[str, float])
    ] = Field(min_length=2, description="Stages whose models are merged, or a mapping from stage to weight.")
    density: float | None = Field(
        default=None, gt=0, le=1, description="Fraction of each parameter's changes that `ties` and `dare_*` keep."
    )
    seed: Seed | None = Field(default=None, description="Of what `dare_*` drops; the recipe's where not given.")

    @model_validator(mode="after")
    def _density_goes_with_a_sparse_method(self) -> "MergeConfig":
        if self.method in SPARSE and self.density is None:
            raise ValueError(f"density is missing: {self.method} keeps a fraction of the changes, 0.2 (say)")
        if self.method not in SPARSE and self.density is not None:
            raise ValueError(
                f"density = {self.density} goes with {', '.join(SPARSE)}; {self.method} keeps all: take it out"
            )
        return self

    @model_validator(mode="after")
    def _an_average_has_weight(self) -> "MergeConfig":
        if self.method == "linear" and sum(self.models.values()) <= 0:
            raise ValueError(
                f"models: the weights of an average have to add up to more than 0, and {list(self.models.values())} do "
                "not; method: task_arithmetic takes any"
            )
        return self

    @model_validator(mode="after")
    def _nothing_is_sampled(self) -> "MergeConfig":
        if self.modes is not None:
            raise ValueError("modes: a merge neither samples nor trains; take it out")
        return self

    def parents(self) -> tuple[str, ...]:
        return (self.from_, *self.models)
