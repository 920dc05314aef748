"""The command line: from people's own files (`new`) over `run` and `report` to a model that leaves (`export`)."""

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Annotated, cast, get_args

import typer
import yaml
from rich.markup import escape
from rich.table import Table

from polymath.console import FAILED, out, say, stop, stop_if_taken, tell
from polymath.dataset.layouts import Part
from polymath.execution import begun, cut_off, execute, locked, recipe_at, show_report, stop_if_no_run, typed
from polymath.offline import Offline
from polymath.pipeline import Plan, StageFailed, check_hardware, plan
from polymath.planning.command import plan as plan_command
from polymath.recipe import recipe_schema
from polymath.references import check_files
from polymath.release.commands import export, saved_recipe, serve, verify
from polymath.run_dir import RunDir, read_json, write_text

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
for command in (plan_command, export, verify):
    app.command()(command)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(serve)


@app.command("run")
def run_command(
    recipe: Annotated[Path, typer.Argument(help="A recipe, for example recipes/miniature.yaml.")],
    run_dir: Annotated[Path | None, typer.Option(help="Where the run is kept; one that exists goes on.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="stage.field=value; may be repeated.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would run, and write nothing.")] = False,
    overcommit: Annotated[bool, typer.Option("--overcommit", help="Start also what cannot fit into memory.")] = False,
    offline: Offline = False,
) -> None:
    """Run a recipe; stages that are done are skipped."""
    cut_off(offline)
    resolved = recipe_at(recipe, set_)
    run = RunDir(run_dir or Path("runs") / f"{resolved.name}-{time.strftime('%Y%m%d-%H%M%S')}")
    stop_if_no_run(run)
    if dry_run:
        plans = plan(resolved, run)
        out.print(_plan_table(plans, run))
        try:
            check_hardware(plans)
        except StageFailed as error:
            stop(str(error))
        return
    with begun(resolved, run, {"recipe": str(recipe), "set": set_ or []}, recipe.read_text(encoding="utf-8")):
        execute(resolved, run, overcommit=overcommit)


@app.command("eval")
def eval_command(
    run_dir: Annotated[Path, typer.Argument(help="The folder of a run.")],
    stage: Annotated[str | None, typer.Option(help="Whose model; the last one's where not given.")] = None,
    num_prompts: Annotated[int, typer.Option(min=1, help="Held-out tasks of each domain and mode, at most.")] = 200,
    guard: Annotated[bool, typer.Option(help="Look as well at skills that nobody trained: sums, instructions.")] = True,
    scores_dir: Annotated[
        Path | None, typer.Option("--run-dir", help="Where they are kept; RUN-eval if not given.")
    ] = None,
    offline: Offline = False,
) -> None:
    """Score a trained model beside what it began from, and say what got better and what got worse.

    `polymath export` puts these scores into the card.
    """
    cut_off(offline)
    from polymath.release.card import rows
    from polymath.release.evaluation import AFTER, describe_scored, evaluation_of, recipe_for
    from polymath.release.export import Source

    try:
        source = Source.of(saved_recipe(RunDir(run_dir)), RunDir(run_dir), stage)
    except ValueError as error:
        stop(str(error))
    recipe = recipe_for(source, num_prompts, guard=guard)
    run = RunDir(scores_dir) if scores_dir else evaluation_of(RunDir(run_dir))
    stop_if_no_run(run)
    with begun(recipe, run, {"scored": describe_scored(source)}):
        execute(recipe, run, again=typed())
    table = Table("held out", "mode", "tasks", "before", f"after ({source.stage})", "", box=None)
    for row in rows(read_json(run.summary)["scores"], AFTER):
        before = "" if row.before is None else f"{row.before:.1f}%"
        table.add_row(row.domain, row.mode, str(row.n), before, f"{row.after:.1f}% +- {row.stderr:.1f}", row.change())
    out.print(table)


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Of the recipe: NAME.yaml is written.")],
    data: Annotated[list[Path], typer.Option(help="JSON lines, JSON, CSV, TSV or parquet; may be repeated.")],
    model: Annotated[str | None, typer.Option(help="What to fine-tune: ./folder, or owner/name of a hub.")] = None,
    column: Annotated[list[str] | None, typer.Option(help="prompt=NAME, completion=NAME or system=NAME.")] = None,
) -> None:
    """Look at your own files, and write a recipe that fine-tunes a model on them."""
    from polymath.new import look, noted, recipe, told
    from rewards.languages import clear_language

    path, notes = Path(f"{name}.yaml"), Path(f"{name}.rows.jsonl")
    if not re.fullmatch("[a-z][a-z0-9_-]{0,63}", name) or yaml.safe_load(name) != name:
        stop(f"NAME {name!r}: small letters, digits, - and _ alone, a letter first; no and on are values in YAML")
    for place in (path, notes):
        if place.exists():
            stop(f"{place}: is there already; take another NAME, or put it away")
    columns = dict(own.split("=", 1) for own in column or () if "=" in own)
    if len(columns) < len(column or ()) or not columns.keys() <= set(get_args(Part)):
        stop(f"--column {' '.join(column or ())}: each reads prompt=NAME, completion=NAME or system=NAME")
    try:
        found = look(name, tuple(data), cast(dict[Part, str], columns), model, clear_language)
    except (ValueError, ImportError) as error:
        stop(str(error))
    write_text(path, recipe(found))
    rows = list(noted(found))
    if rows:
        write_text(notes, "".join(json.dumps(row) + "\n" for row in rows))
    for what, how in told(found):
        say(f"{what:<14} {how}")
    say(f"written: {path}{f', and {notes} with the {len(rows)} rows to look at' if rows else ''}")
    say(f"next: polymath plan {path}, polymath run {path}")


@app.command()
def resume(
    run_dir: Annotated[Path, typer.Argument(help="The folder of a run.")],
    overcommit: Annotated[bool, typer.Option("--overcommit", help="Start also what cannot fit into memory.")] = False,
    offline: Offline = False,
) -> None:
    """Finish a run that was interrupted."""
    cut_off(offline)
    run = RunDir(run_dir)
    recipe = saved_recipe(run)
    for problem in check_files(recipe):
        stop(f"{run.resolved}: {'.'.join(map(str, problem.location))}: {problem.message}")
    with locked(run):
        execute(recipe, run, overcommit=overcommit)


@app.command()
def report(run_dir: Annotated[Path, typer.Argument(help="The folder of a run.")]) -> None:
    """Write the report of a run, finished or not."""
    run = RunDir(run_dir)
    show_report(saved_recipe(run), run)


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="A .gguf file.")],
    target: Annotated[Path, typer.Argument(help="The folder to write.")],
) -> None:
    """Turn a GGUF file into a folder of safetensors that recipes can name."""
    from polymath.models import convert_gguf
    from polymath.run_dir import whole_folder

    if not source.is_file() or source.suffix != ".gguf":
        stop(f"{source}: no such .gguf file")
    stop_if_taken(target)
    with whole_folder(target.resolve()) as folder:
        convert_gguf(source, folder)
    out.print(
        f"{target} is ready: use it as `model: {{name: {target.resolve()}}}`",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )


@app.command()
def doctor(
    run_dir: Annotated[Path, typer.Option(help="Where runs will be kept.")] = Path("runs"),
) -> None:
    """Look at this machine, from libraries to GPUs and disk, and say what is wrong and what to do."""
    from polymath.doctor import examine
    from rewards.sandbox.local import survey

    if tell(examine(run_dir, survey)):
        raise typer.Exit(FAILED)


@app.command()
def sandbox() -> None:
    """Say what protects this machine from model-written programs, and try it."""
    from rewards.sandbox import SandboxError
    from rewards.sandbox.local import survey

    try:
        isolation, protections = survey()
    except SandboxError as error:
        stop(str(error), FAILED)
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
        stop(f"{log}: no such file; a stage that runs programs writes sandbox.jsonl")
    try:
        opened = LocalSandbox(())
    except SandboxError as error:
        stop(str(error), FAILED)
    try:
        again = asyncio.run(replay(log, opened, episode))
    except ValueError as error:
        stop(str(error))
    finally:
        opened.close()
    for one in again:
        differs = "; ".join(f"{field} was {then!r}, is {now!r}" for field, (then, now) in one.differs.items())
        if differs or episode is not None:
            say(f"{one.episode} command {one.place}: {differs or 'the same'}")
    changed = sum(bool(one.differs) for one in again)
    say(f"{len(again)} commands, {changed} with another result")
    if changed:
        raise typer.Exit(FAILED)


@app.command()
def schema() -> None:
    """Print the JSON schema of recipes, for editors."""
    print(json.dumps(recipe_schema(), indent=1))


def _plan_table(stages: list[Plan], run: RunDir) -> Table:
    table = Table(
        "stage", "kind", "reads", "steps", "state", title=escape(str(run.path)), box=None, title_justify="left"
    )
    for stage in stages:
        steps = getattr(stage.job.config, "max_steps", "")
        table.add_row(stage.job.name, stage.job.config.kind, " ".join(stage.parents), str(steps), stage.status())
    return table


if __name__ == "__main__":
    app()
