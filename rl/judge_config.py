"""Settings of the judge of a `grpo` stage."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    Discriminator,
    Field,
    NonNegativeInt,
    PositiveInt,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from polymath import places
from polymath.chat import Mode
from polymath.engine.config import ADDRESS, EngineConfig
from polymath.stage import ModeConfig
from polymath.strict import StrictModel
from rl.trust import TrustConfig


class JudgeSettings(StrictModel):
    """What is asked, whoever judges."""

    remedy: ClassVar[str] = "take a better judge, or let the policy learn to judge (judge.kind: policy)"

    kind: Any  # a literal in each subclass
    think: Mode = Field(default="high", description="How its prompts are rendered.")
    max_completion_length: PositiveInt = Field(default=256, description="Most tokens of a verdict, reasoning included.")
    votes: PositiveInt = Field(default=2, description="Verdicts on each completion; their mean is its reward.")
    responses: int = Field(
        default=1,
        ge=1,
        le=9,
        description="How many completions of a group are shown at a time, in an order drawn for each verdict; 1 judges "
        "each alone.",
    )
    writes_rubrics: bool = Field(
        default=False,
        description="Where neither row nor reward has a rubric, the judge writes one from the task, which stays the "
        "prompt's for the stage.",
    )
    trust: TrustConfig = Field(default=TrustConfig(), description="When its votes are a reward.")

    @model_validator(mode="after")
    def _what_is_bound_can_be_seen(self) -> "JudgeSettings":
        unseen = "max_position_bias" if self.responses == 1 else "max_self_preference"
        if self.trust.changes(unseen) and getattr(self.trust, unseen) < 1:
            how = "several responses are judged together" if self.responses == 1 else "each response is judged alone"
            raise ValueError(f"trust.{unseen} is measured where {how}; responses is {self.responses}: leave it out")
        return self

    def mode(self) -> ModeConfig:
        """How its prompts are rendered, and its budget."""
        return ModeConfig(think=self.think, max_completion_length=self.max_completion_length)

    def groups(self, of: int) -> int:
        """How many of a batch's groups are judging tasks."""
        return 0


class PolicyJudge(JudgeSettings):
    """The policy itself, with the weights of the step, in a think mode of its own (V4 report, section 5.1.1)."""

    remedy: ClassVar[str] = ""  # there are several

    kind: Literal["policy"] = "policy"
    share: float = Field(
        default=0.25,
        ge=0,
        lt=1,
        description="Of a batch's groups, how many are judging tasks that train, one at least: what the others wrote, "
        "beside what verifiers say of it; 0 is none.",
    )
    replay: NonNegativeInt = Field(
        default=256,
        description="How many judging tasks of earlier steps are kept, of each domain so many about right and so many "
        "about wrong answers (with `responses`, so many hands), and asked again where what was sampled has too few; 0 "
        "is none.",
    )
    form: Literal["best", "distance"] = Field(
        default="distance",
        description="What a verdict is worth there: 1 - |s' - s| (DeepSeekMath-V2), or 1 where the best response has "
        "the highest score, a single one the right side of the scale, and -1 elsewhere (DeepSeek-GRM).",
    )
    comparisons: Path | None = Field(
        default=None, description="JSONL of what people have judged; it trains beside what verifiers have."
    )
    comparisons_share: float = Field(
        default=0.5, gt=0, le=1, description="Of the judging tasks, how many are of that file, where there is one."
    )

    @field_validator("comparisons")
    @classmethod
    def _is_found_from_any_folder(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        return places.found(path, info) if path else None

    @model_validator(mode="after")
    def _what_is_trained_has_a_share(self) -> "PolicyJudge":
        asks = ("comparisons", "form", *(["replay"] if self.replay else []))
        if not self.share and (idle := [name for name in asks if self.changes(name)]):
            raise ValueError(f"share is 0, so that {' and '.join(idle)} would do nothing: raise it, or leave them out")
        return self

    @model_validator(mode="after")
    def _a_share_is_of_something(self) -> "PolicyJudge":
        if self.comparisons is None and self.changes("comparisons_share"):
            raise ValueError("comparisons_share goes with comparisons, the file that it is a share of")
        return self

    def groups(self, of: int) -> int:
        return min(of - 1, max(1, round(self.share * of))) if self.share else 0


class FrozenJudge(JudgeSettings, EngineConfig):
    """A model of the recipe that does not change."""

    kind: Literal["frozen"] = "frozen"
    from_: str = Field(alias="from", description="The stage whose model judges.")
    temperature: float = Field(default=1.0, ge=0, le=2)


class ExternalJudge(JudgeSettings):
    """Whoever answers at a URL as OpenAI's chat completions do; it reasons as it likes."""

    kind: Literal["external"] = "external"
    url: str = Field(pattern=ADDRESS, description="http://host:port/v1; chat/completions is added.")
    model: str = Field(min_length=1, description="The model's name there.")
    api_key_env: str = Field(default="OPENAI_API_KEY", description="The environment variable that holds the key.")
    temperature: float = Field(default=1.0, ge=0, le=2)
    at_once: PositiveInt = Field(default=16, description="Calls at a time.")
    seconds: float = Field(default=120.0, gt=0, description="For one answer.")

    @field_validator("url")
    @classmethod
    def _is_where_the_api_begins(cls, url: str) -> str:
        if url.rstrip("/").endswith("/chat/completions"):
            raise ValueError(f"found {url!r}; chat/completions is added to it: leave that out")
        return url

    @model_validator(mode="after")
    def _reasons_as_it_likes(self) -> "ExternalJudge":
        if self.changes("think"):
            raise ValueError("think is how a model of the run is asked, and a url gets messages: take it out")
        return self


JUDGE_TYPES: dict[str, type[JudgeSettings]] = {
    judge.model_fields["kind"].default: judge for judge in (PolicyJudge, FrozenJudge, ExternalJudge)
}


def _kind(value: Any) -> str:
    """The policy, where nothing else is said."""
    return str(value.get("kind", "policy")) if isinstance(value, dict) else getattr(value, "kind", "policy")


Judge = Annotated[
    Annotated[PolicyJudge, Tag("policy")]
    | Annotated[FrozenJudge, Tag("frozen")]
    | Annotated[ExternalJudge, Tag("external")],
    Discriminator(_kind),
]
