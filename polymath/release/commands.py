"""The commands of a model that leaves its run: `polymath export`, `verify`, `serve`."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from polymath.console import FAILED, say, stop, stop_if_taken, tell
from polymath.digest import file_digest
from polymath.domains.python import look_in
from polymath.hardware import gpus
from polymath.models import Dtype
from polymath.recipe import Recipe, load_resolved
from polymath.release import provenance
from polymath.release.provenance import Form
from polymath.release.serving import command
from polymath.run_dir import RunDir, read_json
from polymath.source import RecipeError


def export(
    run_dir: Annotated[Path, typer.Argument(help="The folder of a run.")],
    target: Annotated[Path, typer.Argument(help="The folder to write.")],
    stage: Annotated[str | None, typer.Option(help="Whose model; the last one's where not given.")] = None,
    form: Annotated[Form | None, typer.Option(help="adapter where the stage trained one, else merged.")] = None,
    dtype: Annotated[
        Dtype | None, typer.Option(help="Of merged weights; bfloat16 where that says the same, else float32.")
    ] = None,
) -> None:
    """Write a trained model as others load it, with a card and with where all of it came from."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # read on import, and by what reads GGUF files, unlike transformers' own
    from transformers.utils import logging as transformers_logging

    from polymath.models import is_adapter
    from polymath.release.evaluation import evaluation_of, scores_of
    from polymath.release.export import Source
    from polymath.release.export import export as write

    stop_if_taken(target)
    run = RunDir(run_dir)
    recipe = saved_recipe(run)
    transformers_logging.disable_progress_bar()
    try:
        source = Source.of(recipe, run, stage)
        source = source.with_scores(scores_of(evaluation_of(run), source))
        known = write(source, form or ("adapter" if is_adapter(source.model) else "merged"), dtype, target.resolve())
    except (ValueError, OSError, ImportError) as error:
        stop(f"{error}; nothing was written")
    own = known.comparison
    kept = f" in {known.dtype}" if known.dtype else ""
    say(f"{target}: stage {known.stage} as {known.form}{kept}, {len(known.files)} files")
    if known.dtype == "float32" and dtype is None:
        say("bfloat16 would have rounded it further from the stage's model than it may be")
    say(f"its log-probabilities are {own.mean:.2g} nats from the stage's on the mean, {own.most:.2g} at most")
    _say_digest(target)
    try:
        command(target, "127.0.0.1", 8000, on_cpu=not gpus())
    except ValueError as error:
        say(f"no server takes it as it is: {error}")
    else:
        say(f"next: polymath verify {target}, polymath serve {target}")


def verify(
    folder: Annotated[Path, typer.Argument(help="What `polymath export` wrote.")],
    sha256: Annotated[
        str | None, typer.Option(help="Of provenance.json, as `export` said it; what else it says rests on that.")
    ] = None,
) -> None:
    """Check every file of an exported model, and where they still lie its base and data."""
    try:
        findings = list(provenance.verify(folder, sha256))
    except ValueError as error:
        stop(str(error))
    faults = tell(findings)
    _say_digest(folder)
    if faults:
        raise typer.Exit(FAILED)


def _say_digest(folder: Path) -> None:
    say(f"{provenance.PROVENANCE} itself has the sha256 {file_digest(folder / provenance.PROVENANCE)}")


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
    try:
        own = command(folder, host, port, on_cpu=not gpus())
    except (ValueError, OSError) as error:
        stop(str(error))
    arguments = [*own.arguments, *context.args]
    if show:
        say(replace(own, arguments=arguments).text())
        return
    say(f"http://{host}:{port}/v1, model {own.model}")
    try:
        os.execvpe(arguments[0], arguments, os.environ | own.environment)
    except OSError as error:
        stop(f"{arguments[0]}: {error.strerror}; install it, and run\n{own.text()}", FAILED)


def saved_recipe(run: RunDir) -> Recipe:
    """The recipe of a run; ends the command where there is none."""
    if not run.resolved.exists():
        stop(
            f"{run.path}: there is no {run.resolved.name}, so no run to go on with; start one with: polymath run RECIPE"
        )
    try:
        look_in((read_json(run.manifest) or {}).get("folders", ()))
        return load_resolved(run.resolved)
    except (RecipeError, ValueError) as error:
        stop(str(error))
