"""Rewards: what an episode is worth, from what the model wrote alone; no torch.

A recipe lists rewards by name, with weights and arguments; a domain names the verifier of its rows. To add one: write a
`RewardConfig` that can be called on a batch (or a `Verifier` with `verify`), and name it below.
"""

import inspect
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from polymath.completion import Completion
from polymath.domains.python import load
from polymath.sandbox_config import SandboxConfig
from polymath.source import nearest
from rewards.assessed import Assessed, SelfVerification
from rewards.base import RewardConfig, Verifier, Workbench, call_custom
from rewards.code_tests import CodeTests
from rewards.final_state import FinalState
from rewards.instruction_following import Instructions
from rewards.judgment import Judgment
from rewards.length import L1Exact, L1Max, LengthPenalty, SoftOverlong
from rewards.math_answer import MathAnswer
from rewards.reference import Reference
from rewards.rubric import RubricReward
from rewards.score import Score, Scores
from rewards.style import FormatReward, Language, Repetition
from rewards.tool_calls import ToolCalls
from rewards.writing import Writing

VERIFIER_TYPES: tuple[type[Verifier], ...] = (
    MathAnswer,
    CodeTests,
    Instructions,
    ToolCalls,
    FinalState,
    Judgment,
    Assessed,
    Writing,
    Reference,
)
VERIFIERS: dict[str, Verifier] = {kind.model_fields["name"].default: kind() for kind in VERIFIER_TYPES}


class OwnVerifier(RewardConfig):
    """Each row's own verifier, with its usual settings."""

    name: Literal["verifier"] = "verifier"

    async def __call__(self, completions: Sequence[Completion], bench: Workbench) -> list[Score]:
        return await bench.verify(completions)


class PythonReward(RewardConfig):
    """A user's own function: `(completions, **arguments) -> list of Score, float or None`, async or not."""

    name: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", description="`module:function`.")
    arguments: dict[str, Any] = Field(default={}, description="What the function is given besides, by name.")

    @model_validator(mode="after")
    def _can_be_called(self) -> "PythonReward":
        function = load(self.name)
        if not callable(function):
            raise ValueError(f"{self.name} is no function")
        signature = inspect.signature(function)
        names = signature.parameters
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in names.values())
        for argument in self.arguments:
            if argument not in names and not takes_any:
                raise ValueError(f"{self.name} takes no argument {argument!r}{nearest(argument, list(names)[1:])}")
        try:
            signature.bind([], **self.arguments)
        except TypeError as error:
            raise ValueError(f"{self.name} cannot be called with completions and these arguments: {error}") from error
        return self

    def __call__(self, completions: Sequence[Completion], bench: Workbench) -> Awaitable[Scores]:
        return call_custom(self.name, self.arguments, completions)


def _named(value: Any) -> Any:
    """A name alone stands for the reward without arguments; a name that is not known is refused."""
    if isinstance(value, RewardConfig):
        return value
    given = {"name": value} if isinstance(value, str) else value
    name = given.get("name") if isinstance(given, dict) else None
    if not isinstance(name, str):
        raise ValueError(f"a reward has a name; known are {', '.join(REWARD_TYPES)}, and module:function")
    if name not in REWARD_TYPES and ":" not in name:
        raise ValueError(f"no reward {name!r}{nearest(name, REWARD_TYPES)}")
    return given


def _tag(value: Any) -> str:
    name = value.get("name", "") if isinstance(value, dict) else getattr(value, "name", "")
    return "python" if ":" in name else name


AnyReward = (
    Annotated[OwnVerifier, Tag("verifier")]
    | Annotated[MathAnswer, Tag("math_answer")]
    | Annotated[CodeTests, Tag("code_tests")]
    | Annotated[Instructions, Tag("instructions")]
    | Annotated[ToolCalls, Tag("tool_calls")]
    | Annotated[FinalState, Tag("final_state")]
    | Annotated[Judgment, Tag("judgment")]
    | Annotated[Writing, Tag("writing")]
    | Annotated[Reference, Tag("reference")]
    | Annotated[Assessed, Tag("assessed")]
    | Annotated[SelfVerification, Tag("self_verification")]
    | Annotated[RubricReward, Tag("rubric")]
    | Annotated[LengthPenalty, Tag("length_penalty")]
    | Annotated[SoftOverlong, Tag("soft_overlong")]
    | Annotated[L1Exact, Tag("l1_exact")]
    | Annotated[L1Max, Tag("l1_max")]
    | Annotated[FormatReward, Tag("format")]
    | Annotated[Language, Tag("language")]
    | Annotated[Repetition, Tag("repetition")]
    | Annotated[PythonReward, Tag("python")]
)
REWARD_TYPES: dict[str, type[RewardConfig]] = {
    kind.model_fields["name"].default: kind
    for kind in (get_args(member)[0] for member in get_args(AnyReward))
    if kind is not PythonReward
}
RewardSetting = Annotated[
    Annotated[AnyReward, Discriminator(_tag)],
    BeforeValidator(_named, json_schema_input_type=str | Annotated[AnyReward, Discriminator(_tag)]),
]


def open_bench(sandbox: SandboxConfig, log: Path | None = None) -> Workbench:
    """A bench with every verifier at its usual settings; `log` is where commands of the sandbox are written down."""
    return Workbench(VERIFIERS, sandbox, log)


__all__ = [
    "REWARD_TYPES",
    "VERIFIERS",
    "Completion",
    "Judgment",
    "RewardSetting",
    "RubricReward",
    "Score",
    "Workbench",
    "open_bench",
]
