"""The base of everything that a recipe configures."""

from pydantic import BaseModel, ConfigDict


class StrictModel(BaseModel):
    """Frozen, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def changes(self, name: str) -> bool:
        """Whether a field is not as usual; whether it was given says nothing, for a run's own recipe gives them all."""
        return bool(getattr(self, name) != type(self).model_fields[name].get_default(call_default_factory=True))
