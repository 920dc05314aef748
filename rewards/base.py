"""What rewards are made of: settings that can be called on a batch, and the bench with the tools that they share."""

import asyncio
import inspect
from collections.abc import Awaitable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pydantic import Field

from polymath.completion import Completion
from polymath.domains.python import load
from polymath.sandbox_config import SandboxConfig
from polymath.source import nearest
from polymath.strict import StrictModel
from rewards.sandbox import Sandbox, SandboxError
from rewards.sandbox.log import Log, Recorder
from rewards.score import RewardError, Score, Scores, score_batch

if TYPE_CHECKING:
    from pebble import ProcessPool


class RewardConfig(StrictModel):
    """A named reward with its weight and arguments; calling it scores a batch."""

    name: Any  # a literal in each subclass
    weight: float = Field(default=1.0, description="What its scores are multiplied by in the sum.")

    def __call__(self, completions: Sequence[Completion], bench: "Workbench") -> Scores | Awaitable[Scores]:
        """One score a completion, None where the reward does not apply."""
        raise TypeError(f"{type(self).__name__} scores nothing")


class Verifier(RewardConfig):
    """A reward for the rows whose domain it verifies, worth nothing where a turn breaks the format."""

    async def __call__(self, completions: Sequence[Completion], bench: "Workbench") -> list[Score | None]:
        return list(await asyncio.gather(*(self._applied(completion, bench) for completion in completions)))

    async def _applied(self, completion: Completion, bench: "Workbench") -> Score | None:
        if completion.reward != self.name:
            return None
        if completion.faults:
            return Score(0.0, faults=completion.faults)
        score = self.verify(completion, bench)
        return await score if inspect.isawaitable(score) else score

    def verify(self, completion: Completion, bench: "Workbench") -> Score | Awaitable[Score]:
        """The score of a completion that can be read."""
        raise TypeError(f"{type(self).__name__} verifies nothing")


class Workbench:
    """What verifiers share while they work: a sandbox, processes that can be killed, and one another.

    Sandbox and processes are started when they are first needed and end with `close`.
    """

    def __init__(self, verifiers: Mapping[str, Verifier], sandbox: SandboxConfig, log: Path | None = None) -> None:
        self.verifiers, self.sandbox_config = verifiers, sandbox
        self.log = Log(log) if log and sandbox.log else None

    def __enter__(self) -> "Workbench":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @cached_property
    def sandbox(self) -> Sandbox:
        """Where what a model wrote is run. Raises `SandboxError` where this machine grants less than is demanded."""
        from rewards.sandbox.local import LocalSandbox, attempt

        config = self.sandbox_config
        if config.isolation == "auto":
            return LocalSandbox(config.require, config.workers)
        if fault := attempt(config.isolation):
            raise SandboxError(f"sandbox.isolation: {config.isolation!r} does not work on this machine: {fault}")
        return LocalSandbox(config.require, config.workers, config.isolation)

    def protections(self) -> frozenset[str]:
        """What protects this machine from the programs that were run; empty while none was."""
        return self.sandbox.protections if "sandbox" in self.__dict__ else frozenset()

    def sandbox_for(self, completion: Completion) -> Sandbox:
        """The sandbox, which writes down what it does for a completion that has a name, where there is a log."""
        return Recorder(self.sandbox, self.log, completion.name) if self.log and completion.name else self.sandbox

    @cached_property
    def processes(self) -> "ProcessPool":
        """Processes with math-verify at hand, whose work may not end: each task has a time limit of its own."""
        import multiprocessing
        import os

        from pebble import ProcessPool

        from rewards.math_answer import prepare

        return ProcessPool(os.cpu_count() or 1, initializer=prepare, context=multiprocessing.get_context("spawn"))

    async def verify(self, completions: Sequence[Completion]) -> list[Score]:
        """The score of each completion by its own row's verifier: one that is known, or `module:function`."""
        scores: list[Score | None] = [None] * len(completions)
        for name in dict.fromkeys(completion.reward for completion in completions):
            places = [place for place, completion in enumerate(completions) if completion.reward == name]
            own = [completions[place] for place in places]
            for place, score in zip(places, await self._verified(name, own), strict=True):
                scores[place] = score
        return [_some(completion.reward, score) for completion, score in zip(completions, scores, strict=True)]

    async def _verified(self, name: str, completions: Sequence[Completion]) -> list[Score | None]:
        if ":" in name:
            return await score_batch(name, load(name), completions)
        if name not in self.verifiers:
            raise RewardError(f"no verifier {name!r}{nearest(name, self.verifiers)}, or module:function")
        verifier = self.verifiers[name]
        return await score_batch(name, lambda own: verifier(own, self), completions)

    def close(self) -> None:
        """End what was started."""
        if "sandbox" in self.__dict__:
            self.sandbox.close()
        if "processes" in self.__dict__:
            self.processes.stop()
            self.processes.join()


def _some(name: str, score: Score | None) -> Score:
    if score is None:
        raise RewardError(f"verifier {name!r} gave None; a verifier has a score for every row of its domain")
    return score


async def call_custom(reference: str, arguments: Mapping[str, Any], completions: Sequence[Completion]) -> Any:
    """A user's own `module:function`, given the completions and the recipe's arguments."""
    scores = load(reference)(completions, **arguments)
    return await scores if inspect.isawaitable(scores) else scores
