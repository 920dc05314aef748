"""What a run has not finished: which stages, how far they came, and how it goes on."""

import fcntl
import shlex
from collections.abc import Mapping
from typing import Any

from polymath.recipe import Recipe
from polymath.run_dir import RunDir, StageDir, read_lines


def unfinished(recipe: Recipe, run: RunDir, folders: Mapping[str, StageDir]) -> list[str]:
    """One line for what is done and for each stage that is not, and the command that goes on; none once all is done."""
    states = {name: folder.read_state() for name, folder in folders.items()}
    done = [name for name, state in states.items() if state.get("status") == "done"]
    if len(done) == len(folders):
        return []
    runs = is_running(run)
    begun = [name for name, state in states.items() if state and name not in done]
    waiting = [name for name, state in states.items() if not state]
    return [
        f"{'still running' if runs else 'unfinished'}: {len(done)} of {len(folders)} stages are done"
        + (f" ({', '.join(done)})" if done else ""),
        *(_how_far(name, states[name], folders[name], _steps(recipe, name), runs) for name in begun),
        *([f"not begun: {', '.join(waiting)}"] if waiting else []),
        *([] if runs else [f"go on with: {shlex.join(['polymath', 'resume', str(run.path)])}"]),
    ]


def is_running(run: RunDir) -> bool:
    """Whether a process has the run for itself."""
    if not run.lock.exists():
        return False
    with run.lock.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _steps(recipe: Recipe, name: str) -> int | None:
    return getattr(recipe.stages.get(name), "max_steps", None)


def _how_far(name: str, state: Mapping[str, Any], folder: StageDir, steps: int | None, runs: bool) -> str:
    """Steps are those that were logged: of the later ones nothing is known here."""
    step = max((line["step"] for line in read_lines(folder.metrics)), default=0)
    where = f" at step {step} of {steps}" if steps else ""
    if state.get("status") == "failed":
        return f"{name}: failed{where}: {state.get('error')}"
    return f"{name}: {'runs' if runs else 'was broken off'}{where}"
