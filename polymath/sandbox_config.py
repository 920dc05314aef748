"""What a recipe demands of the sandbox in which model-written programs run."""

from typing import Literal

from pydantic import Field

from polymath.strict import StrictModel

Protection = Literal[
    "mount", "pid", "network", "user", "ipc", "scratch", "limits", "process_group", "no_new_privileges", "system_calls"
]


class SandboxConfig(StrictModel):
    """Nothing is run with fewer protections than `require` names."""

    require: tuple[Protection, ...] = Field(
        default=("mount", "pid", "network", "limits"),
        description="Protections without which no program runs: own file system, own processes, no network, limits.",
    )
    isolation: Literal["auto", "namespaces", "bubblewrap", "none"] = Field(
        default="auto", description="How processes are kept apart; `auto` is the strongest that the machine grants."
    )
    workers: int = Field(default=0, ge=0, description="Programs that run at the same time; 0 is one for each core.")
    log: bool = Field(default=True, description="Keep every command and its result in the stage's sandbox.jsonl.")
