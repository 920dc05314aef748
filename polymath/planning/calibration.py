"""How long a recipe will take: each stage is run for a few steps, and the rest is worked out from these; no torch."""

import statistics
from dataclasses import dataclass
from typing import Any

from polymath.recipe import Recipe
from polymath.run_dir import RunDir, StageDir, read_lines
from polymath.stage import BASE, TrainingConfig

STEPS = 10  # of each stage, of which the first half may be slower: kernels are loaded, and memory is asked for
PROMPTS = 64  # of an eval stage's cells


@dataclass(frozen=True)
class Timing:
    """Of one stage, in seconds."""

    start: float  # until its first step ends, and after its last one
    step: float  # each other one
    steps: int
    peak_memory: int | None  # bytes that it took while it was calibrated

    def total(self) -> float:
        """All of the stage."""
        return self.start + self.step * (self.steps - 1)


def shortened(recipe: Recipe) -> Recipe:
    """The recipe with a few steps in each stage, on as many rows as it has; all else as it is."""
    data = recipe.dump()
    data["name"] = f"{recipe.name}-plan"
    for name, stage in recipe.stages.items():
        own = data["stages"][name]
        if isinstance(stage, TrainingConfig) and stage.kind != "off_policy":
            own["num_rows"] = stage.row_count()
        if "max_steps" in own:
            own |= {"max_steps": min(STEPS, own["max_steps"]), "logging_steps": 1, "save_steps": STEPS}
        if own.get("early_stopping_patience"):
            own.pop("early_stopping_patience")
            own.pop("early_stopping_threshold")
        if stage.kind == "off_policy":
            own |= {"keep": "all", "num_rows": _rows_of_one_batch(stage)}
        if stage.kind == "eval":
            own["num_prompts"] = min(PROMPTS, own["num_prompts"])
    return Recipe.model_validate(data)


def _rows_of_one_batch(stage: Any) -> int:
    return max(1, min(stage.row_count(), stage.generation_batch_size // stage.num_samples))


def timings(recipe: Recipe, run: RunDir) -> dict[str, Timing]:
    """Of each stage, from the run of the shortened recipe."""
    short = shortened(recipe)
    folders = {name: run.stage(place, name) for place, name in enumerate([BASE, *short.order()])}
    return {name: _timing(recipe.stages.get(name), folder) for name, folder in folders.items()}


def _timing(stage: Any, folder: StageDir) -> Timing:
    """What the second to fifth steps take beyond a later one is left out: a machine loads a kernel once."""
    state = folder.read_state()
    steps = [line["time/step"] for line in read_lines(folder.metrics) if "time/step" in line]
    peak = state.get("peak_memory_bytes")
    if len(steps) < 2:
        return Timing(state["seconds"] * _batches(stage), 0.0, 1, peak)
    step = statistics.median(steps[len(steps) // 2 :])
    return Timing(state["seconds"] - sum(steps[1:]), step, stage.max_steps, peak)


def _batches(stage: Any) -> float:
    """How many times as long a stage without steps takes as it did: by the batches that it samples."""
    if getattr(stage, "kind", "") != "eval":
        return 1
    short = min(PROMPTS, stage.num_prompts)
    batches = [-(-prompts // stage.batch_size) for prompts in (stage.num_prompts, short)]
    return batches[0] / batches[1]
