"""The command line: from people's own files (`new`) over `run` and `report` to a model that leaves (`export`)."""

import asyncio
import fcntl
import json
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, cast, get_args

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from polymath.dataset.layouts import Part
from polymath.finding import Finding
from polymath.manifest import describe
from polymath.models import Dtype
from polymath.pipeline import Pipeline, Plan, StageFailed, check_hardware, plan
from polymath.progress import Bars, Lines
from polymath.recipe import Recipe, check_files, load_recipe, load_resolved, recipe_schema
from polymath.run_dir import RunDir, read_json, write_json, write_text
from polymath.source import RecipeError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
out, err = Console(), Console(stderr=True)
USAGE, FAILED, INTERRUPTED = 2, 1, 130


@app.command("run")
def run_command(
    recipe: Annotated[Path, typer.Argument(help="A recipe, for example recipes/miniature.yaml.")],
    run_dir: Annotated[Path | None, typer.Option(help="Where the run is kept; one that exists goes on.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="stage.field=value; may be repeated.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would run, and write nothing.")] = False,
) -> None:
    """Run a recipe; stages that are done are skipped."""
    try:
        resolved = load_recipe(recipe, set_)
    except RecipeError as error:
        _stop(str(error))
    run = RunDir(run_dir or Path("runs") / f"{resolved.name}-{time.strftime('%Y%m%d-%H%M%S')}")
    if run.path.exists() and not run.resolved.exists() and (not run.path.is_dir() or any(run.path.iterdir())):
        _stop(f"--run-dir {run.path}: holds no run; name the folder of one, or a folder that is not there yet")
    if dry_run:
        plans = plan(resolved, run)
        out.print(_plan_table(plans, run))
        try:
            check_hardware(plans)
        except StageFailed as error:
            _stop(str(error))
        return
    try:
        run.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _stop(f"--run-dir {run.path}: cannot be made: {error.strerror}")
    with _locked(run):
        write_text(run.recipe, recipe.read_text(encoding="utf-8"))
        write_json(run.manifest, describe(sys.argv) | {"seed": resolved.seed, "recipe": str(recipe), "set": set_ or []})
        write_json(run.resolved, resolved.dump())
        _execute(resolved, run)


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Of the recipe: NAME.yaml is written.")],
    data: Annotated[list[Path], typer.Option(help="JSON lines, JSON, CSV, TSV or parquet; may be repeated.")],
    model: Annotated[str | None, typer.Option(help="What to fine-tune: ./folder, or owner/name of a hub.")] = None,
    column: Annotated[list[str] | None, typer.Option(help="prompt=NAME, completion=NAME or system=NAME.")] = None,
) -> None:
    """Look at your own files, and write a recipe that fine-tunes an adapter on them."""
    from polymath.new import look, noted, recipe, told
    from rewards.languages import language_of

    path, notes = Path(f"{name}.yaml"), Path(f"{name}.rows.jsonl")
    if not re.fullmatch("[a-z][a-z0-9_-]*", name):
        _stop(f"NAME {name!r}: small letters, digits, - and _ alone, a letter first")
    for place in (path, notes):
        if place.exists():
            _stop(f"{place}: is there already; take another NAME, or put it away")
    columns = dict(own.split("=", 1) for own in column or () if "=" in own)
    if len(columns) < len(column or ()) or not columns.keys() <= set(get_args(Part)):
        _stop(f"--column {' '.join(column or ())}: each reads prompt=NAME, completion=NAME or system=NAME")
    try:
        found = look(name, tuple(data), cast(dict[Part, str], columns), model, language_of)
    except (ValueError, ImportError) as error:
        _stop(str(error))
    write_text(path, recipe(found))
    rows = list(noted(found))
    if rows:
        write_text(notes, "".join(json.dumps(row) + "\n" for row in rows))
    for what, how in told(found):
        _say(f"{what:<14} {how}")
    _say(f"written: {path}{f', and {notes} with the {len(rows)} rows to look at' if rows else ''}")
    _say(f"next: polymath run {path}")


@app.command()
def resume(run_dir: Annotated[Path, typer.Argument(help="The folder of a run.")]) -> None:
    """Finish a run that was interrupted."""
    run = RunDir(run_dir)
    recipe = _saved_recipe(run)
    for problem in check_files(recipe):
        _stop(f"{run.resolved}: {'.'.join(map(str, problem.location))}: {problem.message}")
    with _locked(run):
        _execute(recipe, run)


@app.command()
def report(run_dir: Annotated[Path, typer.Argument(help="The folder of a run.")]) -> None:
    """Write the report of a run, finished or not."""
    run = RunDir(run_dir)
    _write_report(_saved_recipe(run), run)


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="A .gguf file.")],
    target: Annotated[Path, typer.Argument(help="The folder to write.")],
) -> None:
    """Turn a GGUF file into a folder of safetensors that recipes can name."""
    from polymath.models import convert_gguf
    from polymath.run_dir import whole_folder

    if not source.is_file() or source.suffix != ".gguf":
        _stop(f"{source}: no such .gguf file")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        _stop(f"{target}: is there already; name a folder that is empty or not there yet")
    with whole_folder(target.resolve()) as folder:
        convert_gguf(source, folder)
    out.print(
        f"{target} is ready: use it as `model: {{name: {target.resolve()}}}`",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )


@app.command()
def export(
    run_dir: Annotated[Path, typer.Argument(help="The folder of a run.")],
    target: Annotated[Path, typer.Argument(help="The folder to write.")],
    stage: Annotated[str | None, typer.Option(help="Whose model; the last one's where not given.")] = None,
    form: Annotated[
        Literal["adapter", "merged", "gguf"] | None,
        typer.Option(help="adapter where the stage trained one, else merged."),
    ] = None,
    dtype: Annotated[Dtype, typer.Option(help="Of merged weights.")] = "bfloat16",
) -> None:
    """Write a trained model as others load it, with a card and with where all of it came from."""
    from transformers.utils import logging as transformers_logging

    from polymath.models import is_adapter
    from polymath.release.export import Source
    from polymath.release.export import export as write

    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        _stop(f"{target}: is there already; name a folder that is empty or not there yet")
    run = RunDir(run_dir)
    recipe = _saved_recipe(run)
    transformers_logging.disable_progress_bar()
    try:
        source = Source.of(recipe, run, stage)
        known = write(source, form or ("adapter" if is_adapter(source.model) else "merged"), dtype, target.resolve())
    except (ValueError, OSError, ImportError) as error:
        _stop(f"{error}; nothing was written")
    own = known.comparison
    _say(f"{target}: stage {known.stage} as {known.form}, {len(known.files)} files")
    _say(f"its log-probabilities are {own.mean:.2g} nats from the stage's on the mean, {own.most:.2g} at most")
    _say(f"next: polymath verify {target}, polymath serve {target}")


@app.command()
def verify(folder: Annotated[Path, typer.Argument(help="What `polymath export` wrote.")]) -> None:
    """Check every file of an exported model, and where they still lie its base and data."""
    from polymath.digest import file_digest
    from polymath.release.provenance import PROVENANCE
    from polymath.release.provenance import verify as check

    try:
        findings = list(check(folder))
    except ValueError as error:
        _stop(str(error))
    faults = _tell(findings)
    _say(f"{PROVENANCE} itself has the sha256 {file_digest(folder / PROVENANCE)}")
    if faults:
        raise typer.Exit(FAILED)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def serve(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="What `polymath export` wrote; what follows goes to the server.")],
    host: Annotated[
        str, typer.Option(help="Who may ask: 0.0.0.0 is everybody that reaches this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    show: Annotated[bool, typer.Option("--print", help="Say the command, and start nothing.")] = False,
) -> None:
    """Answer with an exported model as OpenAI's API does, by vLLM or, for GGUF, llama.cpp."""
    from polymath.hardware import gpus
    from polymath.release.serving import command

    try:
        own = command(folder, host, port, on_cpu=not gpus())
    except (ValueError, OSError) as error:
        _stop(str(error))
    arguments = [*own.arguments, *context.args]
    if show:
        _say(replace(own, arguments=arguments).text())
        return
    _say(f"http://{host}:{port}/v1, model {own.model}")
    try:
        os.execvpe(arguments[0], arguments, os.environ | own.environment)
    except OSError as error:
        _stop(f"{arguments[0]}: {error.strerror}; install it, and run\n{own.text()}", FAILED)


@app.command()
def doctor(
    run_dir: Annotated[Path, typer.Option(help="Where runs will be kept.")] = Path("runs"),
) -> None:
    """Look at this machine, from libraries to GPUs and disk, and say what is wrong and what to do."""
    from polymath.doctor import examine
    from rewards.sandbox.local import survey

    if _tell(examine(run_dir, survey)):
        raise typer.Exit(FAILED)


@app.command()
def sandbox() -> None:
    """Say what protects this machine from model-written programs, and try it."""
    from rewards.sandbox import SandboxError
    from rewards.sandbox.local import survey

    try:
        isolation, protections = survey()
    except SandboxError as error:
        _stop(str(error), FAILED)
    table = Table("protection", "active", "what it keeps from a program", title=f"sandbox: {isolation}", box=None)
    for name, (active, keeps) in protections.items():
        table.add_row(name, "yes" if active else "[red]no[/]", keeps)
    out.print(table)


@app.command("replay")
def replay_command(
    log: Annotated[Path, typer.Argument(help="A sandbox.jsonl of a stage.")],
    episode: Annotated[
        str | None, typer.Option(help="One episode, by its name in the log; all where not given.")
    ] = None,
) -> None:
    """Run the commands of a log again, in their order, and say what differs."""
    from rewards.sandbox import SandboxError
    from rewards.sandbox.local import LocalSandbox
    from rewards.sandbox.log import replay

    if not log.is_file():
        _stop(f"{log}: no such file; a stage that runs programs writes sandbox.jsonl")
    try:
        opened = LocalSandbox(())
    except SandboxError as error:
        _stop(str(error), FAILED)
    try:
        again = asyncio.run(replay(log, opened, episode))
    except ValueError as error:
        _stop(str(error))
    finally:
        opened.close()
    for one in again:
        differs = "; ".join(f"{field} was {then!r}, is {now!r}" for field, (then, now) in one.differs.items())
        if differs or episode is not None:
            _say(f"{one.episode} command {one.place}: {differs or 'the same'}")
    changed = sum(bool(one.differs) for one in again)
    _say(f"{len(again)} commands, {changed} with another result")
    if changed:
        raise typer.Exit(FAILED)


@app.command()
def schema() -> None:
    """Print the JSON schema of recipes, for editors."""
    print(json.dumps(recipe_schema(), indent=1))


def _tell(findings: Iterable[Finding]) -> int:
    """Show what was looked at; how many faults there are."""
    faults = 0
    for finding in findings:
        style = {"ok": "green", "note": "yellow", "fault": "red"}[finding.state]
        out.print(
            f"[{style}]{finding.state:5}[/] [bold]{escape(finding.what)}[/]: {escape(finding.found)}",
            highlight=False,
            soft_wrap=True,
        )
        if finding.remedy:
            _say(f"      {finding.remedy}")
        faults += finding.state == "fault"
    return faults


def _saved_recipe(run: RunDir) -> Recipe:
    if not run.resolved.exists():
        _stop(
            f"{run.path}: there is no {run.resolved.name}, so no run to go on with; start one with: polymath run RECIPE"
        )
    try:
        return load_resolved(run.resolved)
    except RecipeError as error:
        _stop(str(error))


def _execute(recipe: Recipe, run: RunDir) -> None:
    out.print(
        f"[bold]{escape(recipe.name)}[/] in {escape(str(run.path))}, seed {recipe.seed}",
        highlight=False,
        soft_wrap=True,
    )
    started = time.monotonic()
    display = Bars(out) if out.is_terminal else Lines(out)
    run.event("run", command=sys.argv, pid=os.getpid())
    try:
        with display:
            Pipeline(recipe, run, display).run()
    except StageFailed as error:
        err.print(f"{error}\n  go on with: polymath resume {run.path}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(FAILED) from error
    except KeyboardInterrupt as error:
        err.print(f"\ninterrupted; go on with: polymath resume {run.path}", markup=False, soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from error
    _say(f"finished in {time.monotonic() - started:.0f} s")
    _write_report(recipe, run)


def _write_report(recipe: Recipe, run: RunDir) -> None:
    from polymath.report import write_report

    page = write_report(recipe, run)
    if scores := read_json(run.summary)["scores"]:
        out.print(_score_table(scores))
    _say(f"report: {page}")


def _plan_table(stages: list[Plan], run: RunDir) -> Table:
    table = Table(
        "stage", "kind", "reads", "steps", "state", title=escape(str(run.path)), box=None, title_justify="left"
    )
    for stage in stages:
        steps = getattr(stage.job.config, "max_steps", "")
        table.add_row(stage.job.name, stage.job.config.kind, " ".join(stage.parents), str(steps), stage.status())
    return table


def _score_table(scores: list[dict[str, Any]]) -> Table:
    columns = list(dict.fromkeys((score["domain"], score["mode"]) for score in scores))
    cells = {(s["model"], s["domain"], s["mode"]): f"{100 * s['accuracy']:.1f}" for s in scores}
    table = Table("held out, %", box=None)
    for domain, mode in columns:
        table.add_column(f"{domain} {mode}", justify="right")
    for model in dict.fromkeys(score["model"] for score in scores):
        table.add_row(model, *(cells.get((model, *column), "") for column in columns))
    return table


@contextmanager
def _locked(run: RunDir) -> Iterator[None]:
    with run.lock.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _stop(f"{run.path}: another process is running this run")
        yield


def _say(message: str) -> None:
    out.print(message, highlight=False, soft_wrap=True, markup=False)


def _stop(message: str, code: int = USAGE) -> NoReturn:
    err.print(message, style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code)


if __name__ == "__main__":
    app()
