"""`polymath eval`: a model beside what it began from, on what was held out and on skills that nobody trained."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from polymath.digest import model_digest
from polymath.domains import held_out_count
from polymath.recipe import Recipe
from polymath.release.export import Source
from polymath.run_dir import RunDir, read_json
from polymath.stage import BASE

AFTER, GUARD = "after", "guard"
GUARD_TOKENS = 256  # that an answer may have there
# What fine-tuning should not cost: kind of domain, its settings, and what it needs besides Polymath
GUARDS: Mapping[str, tuple[dict[str, Any], Sequence[str]]] = {
    "guard-sums": ({"kind": "math"}, ()),
    "guard-instructions": ({"kind": "instruct"}, ("langdetect", "nltk")),
    "guard-writing": ({"kind": "writing"}, ()),
}


def recipe_for(source: Source, num_prompts: int, *, guard: bool) -> Recipe:
    """A run that scores both models; of a domain with fewer held-out tasks all of these."""
    own, data, trained = source.recipe, source.recipe.dump(), source.trained_on()
    names = source.recipe.stages[source.stage].modes or list(own.modes)
    domains = {name: data["domains"][name] for name in trained}
    modes = {name: data["modes"][name] for name in names}
    scored = {"kind": "eval", "models": [BASE, AFTER]}
    stages: dict[str, Any] = {AFTER: {"kind": "model", "name": str(source.model.resolve())}}
    for name in trained:
        count = held_out_count(trained[name], num_prompts)
        if count:
            stages[f"scores-{name}"] = scored | {"domains": [name], "num_prompts": count, "modes": list(names)}
    if guard:
        known = {name: settings for name, (settings, needs) in GUARDS.items() if all(map(find_spec, needs))}
        domains |= known
        modes[GUARD] = {"think": modes[names[0]]["think"], "max_completion_length": GUARD_TOKENS}
        stages[GUARD] = scored | {"domains": list(known), "num_prompts": num_prompts, "modes": [GUARD]}
    return Recipe.model_validate(
        {"name": f"{own.name}-eval", "seed": own.seed, "chat": own.chat, "model": {"name": str(source.base.resolve())}}
        | {"domains": domains, "modes": modes, "stages": stages, "sandbox": data["sandbox"]}
    )


def evaluation_of(run: RunDir) -> RunDir:
    """Where a run's model is scored, unless somebody says where."""
    return RunDir(run.path.with_name(f"{run.path.resolve().name}-eval"))


def describe_scored(source: Source) -> dict[str, str]:
    """What tells later whose scores these are."""
    return {"stage": source.stage, "model_sha256": model_digest(source.model)}


def scores_of(evaluation: RunDir, source: Source) -> list[dict[str, Any]]:
    """The scores of an evaluation under the stage's name, where it is of this very model; else none."""
    manifest, summary = read_json(evaluation.manifest) or {}, read_json(evaluation.summary) or {}
    if manifest.get("scored") != describe_scored(source):
        return []
    names = {BASE: BASE, AFTER: source.stage}
    return [own | {"model": names[own["model"]]} for own in summary.get("scores", [])]
