"""The graph of stages: what is done is skipped, what was interrupted goes on, branches run side by side.

A stage is done when its folder says so under the same fingerprint: a hash of all that it is given (settings, seed,
domains, the fingerprints of the stages it reads) and of the code that runs it.
"""

import multiprocessing.connection
import os
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

from polymath import launch
from polymath.fingerprint import fingerprint
from polymath.hardware import Slots, gpus
from polymath.launch import StageProcesses
from polymath.models import NEEDS_BITSANDBYTES, TinyModel
from polymath.planning import room
from polymath.progress import Display
from polymath.recipe import Recipe
from polymath.run_dir import RunDir, StageDir
from polymath.source import Problem
from polymath.stage import BASE, BaseConfig, ModeConfig, ModelStageConfig, RolloutConfig, StageConfig, StageJob
from rewards import open_bench

RUNNERS = {
    "base": "polymath.base",
    "model": "polymath.base",
    "sft": "sft.train",
    "grpo": "rl.train",
    "opd": "distill.train",
    "off_policy": "distill.off_policy",
    "merge": "distill.merge",
    "eval": "polymath.evaluate",
}


class StageFailed(RuntimeError):
    """A stage ended before its work was done; the message names stage, cause and log."""


class UnfitRecipeError(ValueError):
    """What a recipe says cannot be, as its models and tasks show; raised before anything trains."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(f"{'.'.join(map(str, own.location))}: {own.message}" for own in problems))
        self.problems = list(problems)


@dataclass(frozen=True)
class Plan:
    """One stage of a run, resolved."""

    job: StageJob
    parents: tuple[str, ...]
    folder: StageDir

    def status(self) -> str:
        """`done`, `interrupted`, `changed` (a result of other settings is there) or `new`."""
        try:
            state = self.folder.read_state()
        except ValueError:
            return "changed"  # nobody can tell what its result belongs to
        if not state:
            return "new"
        if state.get("fingerprint") != self.job.fingerprint:
            return "changed"
        return "done" if state.get("status") == "done" else "interrupted"


def plan(recipe: Recipe, run: RunDir) -> list[Plan]:
    """Every stage in order, `base` first."""
    graph = {BASE: [], **{name: list(dict.fromkeys(s.parents())) for name, s in recipe.stages.items()}}
    order = [BASE, *recipe.order()]
    folders = {name: run.stage(index, name) for index, name in enumerate(order)}
    plans: dict[str, Plan] = {}
    for name in order:
        config = BaseConfig() if name == BASE else recipe.stages[name]
        parents = tuple(graph[name])
        given = _given(recipe, config)
        inherited = {parent: plans[parent].job.fingerprint for parent in parents}
        job = StageJob(
            name=name,
            folder=folders[name].path,
            models={parent: folders[parent].model for parent in parents},
            threads=_threads(name, graph),
            fingerprint=fingerprint(given, RUNNERS[config.kind], inherited),
            **given,
        )
        plans[name] = Plan(job, parents, folders[name])
    return list(plans.values())


def _given(recipe: Recipe, config: StageConfig) -> dict[str, Any]:
    """What a stage is given of the recipe: no more than it reads, for all of it enters its fingerprint."""
    names = config.domain_names()
    extra: dict[str, Any] = {}
    if isinstance(config, BaseConfig):
        names = tuple(recipe.domains) if isinstance(recipe.model, TinyModel) else ()
        extra["model"] = recipe.model
    if isinstance(config, ModelStageConfig):
        extra["model"] = config
    if config.kind in ("eval", "grpo", "off_policy") or getattr(config, "outcome_weight", 0):
        extra |= {"open_bench": open_bench, "sandbox": recipe.sandbox}
    own_seed = getattr(config, "seed", None)
    return {
        "config": config,
        "domains": {name: recipe.domains[name] for name in names},
        "modes": _modes(recipe, config),
        "chat": recipe.chat,
        "seed": recipe.seed if own_seed is None else own_seed,
        "extra": extra,
    }


def _modes(recipe: Recipe, config: StageConfig) -> dict[str, ModeConfig]:
    """The stage's modes; what a length costs is told to the stages that charge it alone."""
    modes = {name: recipe.modes[name] for name in config.modes or recipe.modes}
    if isinstance(config, RolloutConfig):
        return modes
    if isinstance(config, BaseConfig):  # a tokenizer is made from texts: how they are rendered is all that matters
        return {name: ModeConfig(think=mode.think) for name, mode in modes.items()}
    return {name: mode.model_copy(update={"length_penalty": 0.0}) for name, mode in modes.items()}


def _threads(name: str, graph: Mapping[str, list[str]]) -> int:
    """Cores for each stage of the same depth. It depends on the recipe alone: sums of floats depend on the threads."""

    @cache
    def depth(stage: str) -> int:
        return 1 + max((depth(parent) for parent in graph[stage]), default=0)

    width = sum(depth(stage) == depth(name) for stage in graph)
    cores = os.cpu_count() or 1
    return max(1, cores // min(width, cores))


def check_hardware(plans: Iterable[Plan]) -> None:
    """Raise `StageFailed` where a stage asks for more than there is, for then the run would wait for ever."""
    for stage in plans:
        name, config, most = stage.job.name, stage.job.config, _slots().most()
        if stage.status() == "done":
            continue
        if config.processes() > most:
            raise StageFailed(
                f"stage {name}: num_processes is {config.processes()}, and this machine has "
                f"{'GPUs' if gpus() else 'CPU cores'}: {most}. Lower it, and raise gradient_accumulation_steps as much "
                "for the same batch (`polymath run --set` begins the stage anew)"
            )
        if getattr(config, "fsdp", False) and not gpus():
            raise StageFailed(f"stage {name}: fsdp shards over GPUs, and this machine has none: take it out")
        lora = getattr(config, "lora", None)
        if lora and lora.load_in_4bit and find_spec("bitsandbytes") is None:
            raise StageFailed(f"stage {name}: {NEEDS_BITSANDBYTES}")


def _slots() -> Slots:
    return Slots(gpus() or [str(core) for core in range(os.cpu_count() or 1)])


class Pipeline:
    """Runs the stages of one run."""

    def __init__(self, recipe: Recipe, run: RunDir, display: Display) -> None:
        self.run_dir, self.display = run, display
        self.sandbox, self.seed = recipe.sandbox, recipe.seed
        self.plans = {plan.job.name: plan for plan in plan(recipe, run)}
        self.slots = _slots()
        self.running: dict[str, StageProcesses] = {}
        self.done: set[str] = set()
        self.errors: dict[str, str] = {}
        self.logs: dict[str, Path] = {}  # of the process that failed first

    def run(self, *, overcommit: bool = False) -> None:
        """Finish every stage. Raises `StageFailed` once those that could still finish have.

        Raises `UnfitRecipeError` before any stage trains. `overcommit` starts what cannot fit into memory as well.
        """
        check_hardware(self.plans.values())
        for stage in self.plans.values():
            self._settle(stage)
        self._check_gold()
        self._finish(self._models())
        self._check_fit("polymath.budgets:unfit")
        if not overcommit:
            self._check_memory()
        self._finish(self.plans)

    def bring_models(self) -> None:
        """Finish the stages alone that make or bring models. Raises as `run` does."""
        for name in self._models():
            self._settle(self.plans[name])
        self._finish(self._models())
        adapters = [lora for job in self.jobs() if (lora := getattr(job.config, "lora", None))]
        if any(lora.names_targets() for lora in adapters):  # no budgets: to draw rows takes its time
            self._check_fit("polymath.targets:unknown_targets")

    def jobs(self) -> list[StageJob]:
        """Of all stages."""
        return [stage.job for stage in self.plans.values()]

    def _models(self) -> list[str]:
        return [name for name, stage in self.plans.items() if not stage.parents]

    def _finish(self, names: Collection[str]) -> None:
        try:
            while self._start_ready(names) or self.running:
                self._listen()
        finally:
            for stage in self.running.values():
                stage.terminate()
        if self.errors:
            raise StageFailed("\n".join(self.errors.values()))

    def _check_gold(self) -> None:
        """No stage starts on a verifier that its domain's own answers fail, or without the sandbox that it needs."""
        judging = [p.job for n, p in self.plans.items() if n not in self.done and "open_bench" in p.job.extra]
        if not judging:
            return
        protections, fault = _found_by("rewards.gold:try_out", judging, self.sandbox, self.seed)
        if fault:
            raise StageFailed(fault)
        if protections:
            self.run_dir.event("sandbox", protections=protections)
            self.display.note(f"sandbox: {', '.join(protections)}")

    def _check_fit(self, check: str) -> None:
        """No stage starts where a later one would refuse what a mode or a judge may write, or what an adapter is on."""
        if self.done.issuperset(self.plans):
            return
        if problems := _found_by(check, self.jobs(), list(self.done)):
            raise UnfitRecipeError(problems)

    def _check_memory(self) -> None:
        """No stage starts that cannot fit, however little it samples."""
        if self.done.issuperset(self.plans):
            return
        try:
            refusals = room.refusals(self.jobs(), self.done)
        except RuntimeError as error:
            self.display.note(f"what the stages need of memory could not be told: {error}")
            return
        if refusals:
            raise StageFailed("\n".join(refusals))

    def _settle(self, stage: Plan) -> None:
        """Skip what is done; move aside what other settings made, so that nothing is lost."""
        name, status = stage.job.name, stage.status()
        if status == "done":
            self._count_as_done(name)
            self.run_dir.event("skipped", stage=name)
            self.display.skipped(name)
        elif status == "changed":
            aside = _free_name(stage.folder.path)
            shutil.move(stage.folder.path, aside)
            self.display.note(f"{name}: settings, inputs or code changed; the old result is kept in {aside}")

    def _count_as_done(self, name: str) -> None:
        self.done.add(name)
        checkpoints = self.plans[name].folder.checkpoints  # several times its model's room
        try:
            shutil.rmtree(checkpoints)
        except FileNotFoundError:
            pass
        except OSError as error:
            self.display.note(f"{name}: {checkpoints} is not needed any more, and could not be removed: {error}")

    def _start_ready(self, names: Collection[str]) -> bool:
        for name in names:
            stage = self.plans[name]
            began = name in self.done or name in self.running or name in self.errors
            if began or not self.done.issuperset(stage.parents):
                continue
            if slots := self.slots.take(stage.job.config.processes()):
                self._start(stage, slots)
        return bool(self.running)

    def _start(self, stage: Plan, slots: Sequence[int]) -> None:
        job = stage.job
        if gone := [parent for parent, folder in job.models.items() if not folder.exists()]:
            made = self.plans[gone[0]].folder
            raise StageFailed(
                f"stage {job.name}: the model of stage {gone[0]} is no longer at {made.model}: put it back, or delete "
                f"{made.path}, and the stage runs again"
            )
        again = stage.status() == "interrupted"
        job.folder.mkdir(parents=True, exist_ok=True)
        self.run_dir.event("resumed" if again else "started", stage=job.name)
        self.display.started(job.name, again)
        self.running[job.name] = launch.start(job, RUNNERS[job.config.kind], slots)

    def _listen(self) -> None:
        """Wait for news from any stage and take it in."""
        by_connection = {own: name for name, stage in self.running.items() for own in stage.by_connection}
        for connection in cast(list[Connection], multiprocessing.connection.wait(list(by_connection))):
            name = by_connection[connection]
            try:
                news = connection.recv()
            except EOFError:
                if self.running[name].end(connection):
                    self._end(name)
                continue
            if isinstance(news, str):
                stage = self.running[name]
                if name not in self.errors:  # what the others say after that follows from it
                    self.errors[name], self.logs[name] = news, self._log_of(name, stage.ranks[connection])
                stage.terminate(but=connection)
                continue
            step, total, metrics, *notices = news
            self.display.progress(name, step, total, metrics)
            for notice in notices:
                self.run_dir.event("alarm", stage=name, message=notice)
                self.display.note(f"{name}: {notice}")

    def _log_of(self, name: str, rank: int) -> Path:
        return StageDir(self.plans[name].folder.path, rank).log

    def _end(self, name: str) -> None:
        stage = self.running.pop(name)
        self.slots.give_back(stage.slots)
        folder = self.plans[name].folder
        if stage.exitcode == 0:
            self._count_as_done(name)
            self.run_dir.event("finished", stage=name)
            self.display.finished(name, folder.read_state()["seconds"])
            return
        cause = self.errors.get(name) or _cause(stage.exitcode)
        folder.update_state(status="failed", error=cause)
        self.run_dir.event("failed", stage=name, error=cause)
        self.errors[name] = f"stage {name}: {cause}\n  the whole story: {self.logs.get(name, folder.log)}"
        self.display.failed(name, cause)


def _found_by(check: str, *given: Any) -> Any:
    """What a check finds in a process of its own. Raises `StageFailed` where it breaks."""
    try:
        return launch.call(check, *given)
    except RuntimeError as error:
        raise StageFailed(str(error)) from error


def _cause(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return f"killed by signal {-exitcode}{' (out of memory?)' if exitcode == -9 else ''}"
    return f"ended with exit code {exitcode}"


def _free_name(path: Path) -> Path:
    numbered = (path.with_name(f"{path.name}.old-{number}") for number in range(1, 10_000))
    return next(candidate for candidate in numbered if not candidate.exists())
