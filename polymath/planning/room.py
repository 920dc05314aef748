"""What a run refuses: stages that cannot fit into memory, however little they sample; no torch."""

from collections.abc import Collection, Sequence

from polymath import launch
from polymath.planning.need import GIB, Machine, Need, Survey
from polymath.stage import StageJob

SMALL_MODEL = 64 * 2**20  # bytes of weights, whose stages fit anywhere


def survey(jobs: Sequence[StageJob], machine: Machine) -> Survey:
    """See `polymath.planning.knobs`. RuntimeError where it cannot be told."""
    found: Survey = launch.call("polymath.planning.knobs:survey", jobs, machine)
    return found


def refusals(jobs: Sequence[StageJob], done: Collection[str]) -> list[str]:
    """Why stages that are not done cannot run here; none where no model is large. RuntimeError as in `survey`."""
    models = [job.files.model for job in jobs if not job.models]
    if not any(sum(file.stat().st_size for file in folder.glob("*.safetensors")) > SMALL_MODEL for folder in models):
        return []
    machine = Machine.present()
    found: list[Need] = launch.call("polymath.planning.estimate:needs", jobs, machine, "least")
    return [_refusal(need, machine) for need in found if need.stage not in done and not need.fits(machine)]


def _refusal(need: Need, machine: Machine) -> str:
    there = "a GPU" if machine.on_gpu else "this machine"
    return (
        f"stage {need.stage} cannot fit: at {need.moment} it takes at least {need.total() / GIB:.1f} GiB "
        f"({need.largest()}), and {there} has {(machine.memory or 0) / GIB:.1f}. `polymath plan` says which settings "
        "fit, and --overcommit starts it all the same"
    )
