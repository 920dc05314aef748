"""What no single field of a recipe can know: names that stand for others, adapters that go on, and files."""

import graphlib
from pathlib import Path
from typing import TYPE_CHECKING

from distill.config import OpdConfig, TaughtConfig
from distill.merge_config import MergeConfig
from polymath.domains import held_out_count, is_evaluation_only
from polymath.domains.arithmetic import MathDomain
from polymath.domains.python import PythonDomain
from polymath.domains.writing import WritingDomain
from polymath.eval_config import EvalConfig
from polymath.models import PretrainedModel, TinyModel
from polymath.places import beside
from polymath.source import Location, Problem, nearest
from polymath.stage import BASE, ModelStageConfig
from rewards.length import Target
from rl.comparisons import read_comparisons
from rl.config import GrpoConfig
from rl.judge_config import FrozenJudge, PolicyJudge

if TYPE_CHECKING:
    from polymath.recipe import Recipe, Stage


def check_references(recipe: "Recipe") -> list[Problem]:
    """What no single field can know: names of stages, domains and modes, and that nothing reads itself."""
    problems = _check_chat(recipe)
    models = [BASE, *(name for name, stage in recipe.stages.items() if not isinstance(stage, EvalConfig))]
    for name, stage in recipe.stages.items():
        if name == BASE:
            problems.append(Problem(("stages", name), f"{BASE!r} is the name of the recipe's model"))
        problems += [
            Problem(("stages", name, *field), f"no stage {target!r} has a model{nearest(target, models)}")
            for field, target in _references(stage)
            if target not in models
        ]
        field = "teacher_models" if isinstance(stage, TaughtConfig) else "domains"
        problems += [
            Problem(("stages", name, field), f"no domain {domain!r}{nearest(domain, recipe.domains)}")
            for domain in stage.domain_names()
            if domain not in recipe.domains
        ]
        problems += _check_evaluation_only(recipe, name, stage) + _check_held_out(recipe, name, stage)
        problems += [
            Problem(
                ("stages", name, "rewards", place, "target", mode), f"no mode {mode!r}{nearest(mode, recipe.modes)}"
            )
            for place, reward in enumerate(stage.rewards if isinstance(stage, GrpoConfig | OpdConfig) else ())
            for mode in (reward.target if isinstance(reward, Target) and isinstance(reward.target, dict) else ())
            if mode not in recipe.modes
        ]
        problems += _check_rubrics(recipe, name, stage) + _check_room_of_judge(name, stage)
        problems += [
            Problem(("stages", name, "modes"), f"no mode {mode!r}{nearest(mode, recipe.modes)}")
            for mode in stage.modes or ()
            if mode not in recipe.modes
        ]
    problems += [
        Problem(("domains", name, "styles", mode), f"no mode {mode!r}{nearest(mode, recipe.modes)}")
        for name, domain in recipe.domains.items()
        for mode in (domain.styles if isinstance(domain, MathDomain) and isinstance(domain.styles, dict) else ())
        if mode not in recipe.modes
    ]
    return problems or _check_cycle(recipe)


def _check_rubrics(recipe: "Recipe", name: str, stage: "Stage") -> list[Problem]:
    """A judge goes by something."""
    if not isinstance(stage, GrpoConfig) or stage.judge is None or stage.judge.writes_rubrics:
        return []
    bring_one = any(isinstance(recipe.domains.get(own), WritingDomain | PythonDomain) for own in stage.domains)
    message = "nothing says by what to judge: give the reward 'rubric' a rubric, or set judge.writes_rubrics"
    known = bring_one or any(getattr(reward, "rubric", None) for reward in stage.rewards)
    return [] if known else [Problem(("stages", name, "rewards"), message)]


def _check_room_of_judge(name: str, stage: "Stage") -> list[Problem]:
    """A judge that has no room for any question is asked nothing."""
    judge = stage.judge if isinstance(stage, GrpoConfig) else None
    engine = judge if isinstance(judge, FrozenJudge) else stage if isinstance(judge, PolicyJudge) else None
    longest = getattr(engine, "vllm_max_model_length", None)
    if judge is None or longest is None or judge.max_completion_length < longest:
        return []
    message = (
        f"found {judge.max_completion_length}; vllm_max_model_length is {longest}, so that no question fits before a "
        "verdict: lower it, or raise vllm_max_model_length"
    )
    return [Problem(("stages", name, "judge", "max_completion_length"), message)]


def _check_held_out(recipe: "Recipe", name: str, stage: "Stage") -> list[Problem]:
    """A file holds out so many rows and no more; what is drawn without end is counted as a run begins."""
    if not isinstance(stage, EvalConfig):
        return []
    held_out = {
        own: held_out_count(recipe.domains[own], stage.num_prompts) for own in stage.domains if own in recipe.domains
    }
    return [
        Problem(
            ("stages", name, "num_prompts"),
            f"found {stage.num_prompts}; the domain {own!r} holds out {count} tasks: lower it to that"
            if count
            else f"found {stage.num_prompts}; the domain {own!r} is too small to hold out any task: score another",
        )
        for own, count in held_out.items()
        if count < stage.num_prompts
    ]


def _check_evaluation_only(recipe: "Recipe", name: str, stage: "Stage") -> list[Problem]:
    names = () if isinstance(stage, EvalConfig) else stage.domain_names()
    domains = [own for own in names if own in recipe.domains and is_evaluation_only(recipe.domains[own])]
    message = "is for evaluation only, its tools are never trained on; take it out of this stage"
    return [Problem(("stages", name, "domains"), f"{domain!r} {message}") for domain in domains]


def _check_chat(recipe: "Recipe") -> list[Problem]:
    if recipe.chat == "native" and isinstance(recipe.model, TinyModel):
        return [Problem(("chat",), "'native' is a pretrained model's own template; one that is made here speaks 'v4'")]
    return []


def check_files(recipe: "Recipe", folder: Path | None = None) -> list[Problem]:
    """That models on this machine, and what people have judged, are where the recipe, which lies in `folder`, says."""
    stages = {("stages", name): stage for name, stage in recipe.stages.items() if isinstance(stage, ModelStageConfig)}
    paths = {
        (*location, "name"): model.path()
        for location, model in {("model",): recipe.model, **stages}.items()
        if isinstance(model, PretrainedModel)
    }
    places = f"{Path.cwd()}{beside(folder, ' nor in')}"
    return _check_comparisons(recipe, beside(folder, " and from")) + [
        Problem(location, f"found {str(path)!r}, which is not in {places}; a hub id reads owner/name")
        for location, path in paths.items()
        if path is not None and not path.exists()
    ]


def _check_comparisons(recipe: "Recipe", looked: str) -> list[Problem]:
    """What people have judged is read before anything starts."""
    problems = []
    for name, stage in recipe.stages.items():
        if isinstance(stage, GrpoConfig) and isinstance(stage.judge, PolicyJudge) and stage.judge.comparisons:
            rubric = next((own for reward in stage.rewards if (own := getattr(reward, "rubric", None))), None)
            try:
                read_comparisons(stage.judge.comparisons, rubric)
            except ValueError as error:
                where = "" if stage.judge.comparisons.exists() else f", looked for from {Path.cwd()}{looked}"
                problems.append(Problem(("stages", name, "judge", "comparisons"), f"{error}{where}"))
    return problems


def _references(stage: "Stage") -> list[tuple[Location, str]]:
    if isinstance(stage, EvalConfig):
        return [(("models", index), target) for index, target in enumerate(stage.models)]
    if isinstance(stage, ModelStageConfig):
        return []
    others: list[tuple[Location, str]] = []
    if isinstance(stage, TaughtConfig):
        others = [(("teacher_models", domain), target) for domain, target in stage.teacher_models.items()]
    if isinstance(stage, MergeConfig):
        others = [(("models", target), target) for target in stage.models]
    if isinstance(stage, GrpoConfig) and isinstance(stage.judge, FrozenJudge):
        others = [(("judge", "from"), stage.judge.from_)]
    return [(("from",), stage.from_), *others]


def _check_cycle(recipe: "Recipe") -> list[Problem]:
    try:
        recipe.order()
    except graphlib.CycleError as error:
        cycle: list[str] = error.args[1][::-1]
        return [Problem(("stages", cycle[0]), f"stages read each other in a circle: {' -> '.join(cycle)}")]
    return []
