"""`polymath plan`: memory by part, disk, tokens and time of each stage, and which settings would make it fit."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from polymath.console import FAILED, out, say, stop
from polymath.execution import begun, cut_off, recipe_at, stop_if_no_run, typed, watch
from polymath.offline import Offline
from polymath.pipeline import Pipeline
from polymath.pipeline import plan as stages_of
from polymath.planning import room
from polymath.planning.calibration import Timing, shortened, timings
from polymath.planning.need import GIB, Machine, Need, Survey
from polymath.run_dir import RunDir, write_json
from polymath.stage import StageJob


def plan(
    recipe: Annotated[Path, typer.Argument(help="A recipe, for example recipes/miniature.yaml.")],
    set_: Annotated[list[str] | None, typer.Option("--set", help="stage.field=value; may be repeated.")] = None,
    calibrate: Annotated[
        bool, typer.Option(help="Run a few steps of each stage, to say how long all will take.")
    ] = False,
    gpu_memory: Annotated[
        float | None, typer.Option(min=1, help="Plan for a GPU of so many GiB, not this machine.")
    ] = None,
    run_dir: Annotated[Path | None, typer.Option(help="Where models and steps are kept; runs/NAME-plan.")] = None,
    offline: Offline = False,
) -> None:
    """Say what a recipe will take of memory, disk and time, before anything starts."""
    cut_off(offline)
    if gpu_memory and calibrate:
        stop("--calibrate runs on this machine: leave out --gpu-memory")
    if gpu_memory:
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # settings that follow from it are a GPU's
    asked = recipe_at(recipe, set_)
    short = shortened(asked)
    run = RunDir(run_dir or Path("runs") / short.name)
    stop_if_no_run(run)
    machine = Machine(True, int(gpu_memory * GIB)) if gpu_memory else Machine.present()
    with begun(short, run, {"planned": str(recipe), "set": set_ or []}, recipe.read_text(encoding="utf-8")):
        if calibrate:
            watch(short, run, Pipeline.run, typed())
        else:
            watch(short, run, Pipeline.bring_models, typed())
        jobs = [stage.job for stage in stages_of(asked, run)]
        known = timings(asked, run) if calibrate else {}
        raise typer.Exit(_tell(jobs, machine, known, run))


def _tell(jobs: Sequence[StageJob], machine: Machine, known: Mapping[str, Timing], run: RunDir) -> int:
    """Show the plan and keep it; the command's exit code."""
    try:
        with out.status("counting what each stage takes, and what would make it fit"):
            survey = room.survey(jobs, machine)
    except RuntimeError as error:
        stop(f"what the stages need cannot be told: {error}", FAILED)
    most, least = survey.most, survey.least
    write_json(run.path / "plan.json", _as_json(most, least, known))
    out.print(_table(most, least, known))
    out.print(_parts_table(most))
    free = shutil.disk_usage(run.path).free
    disk = sum(need.disk for need in most)
    say(f"disk: {_size(disk)} GiB, with checkpoints while they are needed; {_size(free)} are free")
    if known:
        say(f"time: {_duration(sum(own.total() for own in known.values()))} one after the other, if completions stay "
            "as long as in the first steps")  # fmt: skip
    return _verdict(survey, machine) or (FAILED if disk > free else 0)


def _verdict(survey: Survey, machine: Machine) -> int:
    where, there = "a GPU" if machine.on_gpu else "the host", machine.memory
    if there is None:
        say(f"memory: how much {where} has, nobody says (nvidia-smi is missing?)")
        return 0
    if not survey.remedies:
        say(f"memory: every stage fits into the {_size(there)} GiB of {where}")
        return 0
    cannot = {need.stage for need in survey.least if not need.fits(machine)}
    needs = {need.stage: need for need in survey.most}
    for name, remedy in survey.remedies.items():
        need = needs[name]
        does = "does not fit" if name in cannot else "does not fit once completions are as long as they may be"
        say(f"memory: stage {name} {does}: {_size(need.total())} GiB at {need.moment}, {where} has {_size(there)}")
        if remedy is not None:
            options = " ".join(f"--set {own}" for own in remedy.options())
            takes = "it takes" if remedy.need.fits(machine) else "still too much,"
            say(f"  with {options} {takes} {_size(remedy.need.total())} GiB")
        if remedy is None or not remedy.need.fits(machine):
            say("  no setting is known to help: take a smaller model or a larger device, or let it write less")
    return FAILED


def _table(most: Sequence[Need], least: Sequence[Need], known: Mapping[str, Timing]) -> Table:
    table = Table("stage", "kind", box=None)
    for name in ("GiB", "least", "disk", "tokens", *(("took", "start", "a step", "in all") if known else ())):
        table.add_column(name, justify="right", no_wrap=True)
    for need, small in zip(most, least, strict=True):
        row = [need.stage, need.kind, _size(need.total()), _size(small.total()), _size(need.disk), f"{need.tokens:,}"]
        if own := known.get(need.stage):
            row += [_size(own.peak_memory or 0), f"{own.start:.0f} s", f"{own.step:.2f} s", _duration(own.total())]
        table.add_row(*row)
    return table


def _parts_table(needs: Sequence[Need]) -> Table:
    """What the memory is made of."""
    table = Table("stage", "fullest at", "GiB, by part", box=None)
    for need in needs:
        parts = sorted(need.parts.items(), key=lambda part: -part[1])
        table.add_row(need.stage, need.moment, ", ".join(f"{name} {_size(size)}" for name, size in parts))
    return table


def _as_json(most: Sequence[Need], least: Sequence[Need], known: Mapping[str, Timing]) -> list[dict[str, object]]:
    return [
        {**vars(need), "bytes": need.total(), "bytes_at_least": small.total()}
        | ({"seconds": own.total(), "timing": vars(own)} if (own := known.get(need.stage)) else {})
        for need, small in zip(most, least, strict=True)
    ]


def _size(size: int) -> str:
    """In GiB."""
    return f"{size / GIB:.2f}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
