"""Carrying out a recipe in a run's folder: one process at a time, watched, and with a report at the end."""

import fcntl
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.markup import escape
from rich.table import Table

from polymath.console import FAILED, INTERRUPTED, err, out, say, stop
from polymath.domains.python import folders
from polymath.manifest import describe
from polymath.offline import leave_networks, networks
from polymath.pipeline import Pipeline, StageFailed, UnfitRecipeError
from polymath.progress import Bars, Lines
from polymath.recipe import Recipe, load_recipe, located
from polymath.run_dir import RunDir, read_json, write_json, write_text
from polymath.source import RecipeError


def recipe_at(path: Path, overrides: list[str] | None) -> Recipe:
    """The recipe of a file with `stage.field=value` in place of what it says; the command ends where it has faults."""
    try:
        return load_recipe(path, overrides)
    except RecipeError as error:
        stop(str(error))


def cut_off(offline: bool) -> None:
    """Leave every network where that is asked for, or end the command."""
    if not offline:
        return
    try:
        leave_networks()
    except OSError as error:
        stop(
            f"--offline: this process cannot leave its networks ({error}): allow user namespaces (sysctl "
            "kernel.unprivileged_userns_clone=1, or user.max_user_namespaces above 0), or start it as root"
        )
    say("offline: no network but this machine's own loopback")


def stop_if_no_run(run: RunDir) -> None:
    """End the command where a folder is taken by something else."""
    if run.path.exists() and not run.resolved.exists() and (not run.path.is_dir() or any(run.path.iterdir())):
        stop(f"--run-dir {run.path}: holds no run; name the folder of one, or a folder that is not there yet")


@contextmanager
def begun(recipe: Recipe, run: RunDir, about: dict[str, Any], text: str | None = None) -> Iterator[None]:
    """Write down what a run is made of, `about` and the recipe's own text with it; the run is this process's alone."""
    try:
        run.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        stop(f"--run-dir {run.path}: cannot be made: {error.strerror}")
    with locked(run):
        if text is not None:
            write_text(run.recipe, text)
        write_json(run.manifest, describe(sys.argv) | {"seed": recipe.seed, "folders": folders()} | about)
        write_json(run.resolved, recipe.dump())
        yield


@contextmanager
def locked(run: RunDir) -> Iterator[None]:
    """No other process runs it meanwhile."""
    with run.lock.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stop(f"{run.path}: another process is running this run")
        yield


def execute(recipe: Recipe, run: RunDir, *, overcommit: bool = False, again: str = "") -> None:
    """Finish every stage, and report; `again` as of `watch`."""
    started = time.monotonic()
    watch(recipe, run, lambda pipeline: pipeline.run(overcommit=overcommit), again)
    say(f"finished in {time.monotonic() - started:.0f} s")
    show_report(recipe, run)


def typed() -> str:
    """The command line, to be typed once more."""
    return shlex.join(["polymath", *sys.argv[1:]])


def watch(recipe: Recipe, run: RunDir, work: Callable[[Pipeline], None], again: str = "") -> None:
    """Do this with the run's pipeline, and show how it goes; the command ends where it fails or is interrupted.

    `again` is the command that goes on with it then, where `polymath resume` would not do all that was asked for.
    """
    again = again or f"polymath resume {run.path}"
    out.print(
        f"[bold]{escape(recipe.name)}[/] in {escape(str(run.path))}, seed {recipe.seed}",
        highlight=False,
        soft_wrap=True,
    )
    display = Bars(out) if out.is_terminal else Lines(out)
    run.event("run", command=sys.argv, pid=os.getpid())
    manifest = read_json(run.manifest) or {}
    seen = {*manifest.get("networks", ()), *networks()}  # in any of the attempts at this run
    write_json(run.manifest, manifest | {"networks": sorted(seen)})
    try:
        with display:
            work(Pipeline(recipe, run, display))
    except UnfitRecipeError as error:
        stop(_where_it_says_so(error, run, manifest))
    except StageFailed as error:
        err.print(f"{error}\n  go on with: {again}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(FAILED) from error
    except KeyboardInterrupt as error:
        err.print(f"\ninterrupted; go on with: {again}", markup=False, soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from error


def _where_it_says_so(error: UnfitRecipeError, run: RunDir, manifest: Mapping[str, Any]) -> str:
    """The problems, with the lines of the recipe that a run was begun with, or of its copy where that has changed."""
    if not run.recipe.exists():
        return f"{run.resolved}: {error}"
    given = Path(manifest.get("recipe") or manifest.get("planned", run.recipe))
    is_same = given.is_file() and given.read_bytes() == run.recipe.read_bytes()
    return str(located(error.problems, given if is_same else run.recipe, manifest.get("set", ())))


def show_report(recipe: Recipe, run: RunDir) -> None:
    """Write the report, and show its scores, and what of the run is not finished."""
    from polymath.report import write_report

    page = write_report(recipe, run)
    summary = read_json(run.summary)
    if scores := summary["scores"]:
        out.print(_score_table(scores))
    for line in summary["unfinished"]:
        say(line)
    say(f"report: {page}")


def _score_table(scores: list[dict[str, Any]]) -> Table:
    columns = list(dict.fromkeys((score["domain"], score["mode"]) for score in scores))
    cells = {(s["model"], s["domain"], s["mode"]): f"{100 * s['accuracy']:.1f}" for s in scores}
    table = Table("held out, %", box=None)
    for domain, mode in columns:
        table.add_column(f"{domain} {mode}", justify="right")
    for model in dict.fromkeys(score["model"] for score in scores):
        table.add_row(model, *(cells.get((model, *column), "") for column in columns))
    return table
