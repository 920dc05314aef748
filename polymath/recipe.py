"""The recipe: named stages with typed settings, read from YAML; imports no torch.

A stage's settings are its own keys over the recipe's `defaults` for its kind. Everything is checked before anything
starts, and every fault is reported at once, with file, line, field, what was found and what was meant.
"""

import graphlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, ValidationError

from distill.config import OpdConfig
from distill.merge_config import MergeConfig
from distill.off_policy_config import OffPolicyConfig
from polymath.chat import MODES
from polymath.domains import Domain
from polymath.domains.python import look_in
from polymath.eval_config import EvalConfig
from polymath.lineage import with_adapters
from polymath.models import ModelConfig, PretrainedModel, TinyModel
from polymath.places import FOLDER
from polymath.references import check_files, check_references
from polymath.sandbox_config import SandboxConfig
from polymath.source import Location, Problem, RecipeError, Source, nearest, shown
from polymath.stage import BASE, ModeConfig, ModelStageConfig, Modes, Seed, StageConfig
from polymath.strict import StrictModel
from rewards import REWARD_TYPES, PythonReward
from rl.config import GrpoConfig
from rl.judge_config import JUDGE_TYPES
from sft.config import SftConfig

Stage = Annotated[
    SftConfig | GrpoConfig | OpdConfig | OffPolicyConfig | MergeConfig | ModelStageConfig | EvalConfig,
    Field(discriminator="kind"),
]
STAGE_TYPES: dict[str, type[StageConfig]] = {
    stage.model_fields["kind"].default: stage for stage in get_args(get_args(Stage)[0])
}
DOMAIN_TYPES = {domain.model_fields["kind"].default: domain for domain in get_args(get_args(Domain)[0])}
StageName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]


class Recipe(StrictModel):
    """One run: a model, its domains and think modes, and the stages that train it."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$", description="Names the run's folder.")
    seed: Seed = Field(default=0, description="Seed of every stage that has none of its own.")
    model: ModelConfig
    chat: Literal["v4", "native"] = Field(
        default="v4",
        description="`v4`: the report's format, whose tokens a vocabulary is given where it lacks them; `native`: the "
        "model's own template.",
    )
    domains: dict[StageName, Domain] = Field(min_length=1)
    sandbox: SandboxConfig = SandboxConfig()
    modes: Modes = Field(default_factory=lambda: {mode: ModeConfig(think=mode) for mode in MODES}, min_length=1)
    stages: dict[StageName, Stage] = Field(min_length=1)

    def order(self) -> list[str]:
        """Stage names, each after the stages it reads; in the file's order otherwise."""
        ranks = {name: rank for rank, name in enumerate(self.stages)}
        sorter = graphlib.TopologicalSorter(self.graph())
        sorter.prepare()
        names: list[str] = []
        ready: list[str] = []
        while sorter.is_active():
            first, *ready = sorted([*ready, *sorter.get_ready()], key=ranks.__getitem__)
            names.append(first)
            sorter.done(first)
        return names

    def graph(self) -> dict[str, list[str]]:
        """Stage -> the stages whose models it reads, `base` left out."""
        return {name: [p for p in stage.parents() if p != BASE] for name, stage in self.stages.items()}

    def dump(self) -> dict[str, Any]:
        """The resolved recipe as JSON data."""
        return self.model_dump(mode="json", by_alias=True)


def load_recipe(path: Path, overrides: list[str] | None = None) -> Recipe:
    """Read and check a recipe; `overrides` are `stage.field=value`. Raises `RecipeError`."""
    look_in([path.parent])
    source = Source.read(path)
    for override in overrides or []:
        source.override(*_parse_override(override, source))
    defaults = source.data.pop("defaults", None) or {}
    if problems := _check_defaults(defaults):
        raise _error(problems, source)
    stages = source.data.get("stages")
    if isinstance(stages, dict):
        source.data["stages"] = {name: _with_defaults(stage, defaults) for name, stage in stages.items()}
    try:
        recipe = Recipe.model_validate(source.data, context={FOLDER: path.parent})
    except ValidationError as error:
        faults = [dict(fault) for fault in error.errors() if not _follows(dict(fault), error.errors())]
        raise _error([_problem(fault, source) for fault in faults], source) from error
    if problems := [*check_files(recipe, path.parent), *check_references(recipe)]:
        raise _error(problems, source)
    recipe, problems = with_adapters(recipe)
    if problems:
        raise _error(problems, source)
    return recipe


def load_resolved(path: Path) -> Recipe:
    """The recipe that a run saved, whether its model is still there or not. Raises `RecipeError`."""
    try:
        recipe = Recipe.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise RecipeError([_of_resolved(path, dict(fault)) for fault in error.errors()]) from error
    except ValueError as error:
        raise RecipeError([f"{path}: not a recipe of this version of Polymath: {error}"]) from error
    if problems := check_references(recipe):
        raise RecipeError([f"{path}: {'.'.join(map(str, p.location))}: {p.message}" for p in problems])
    return recipe


def _of_resolved(path: Path, fault: dict[str, Any]) -> str:
    """What a check of ours found, as of a file that is gone; anything else is another version's."""
    of = "" if fault["type"] == "value_error" else "not a recipe of this version of Polymath: "
    place = ".".join(map(str, fault["loc"]))
    return f"{path}: {of}{place}: {fault['msg'].removeprefix('Value error, ')}"


def _with_defaults(stage: Any, defaults: dict[Any, Any]) -> Any:
    kind = stage.get("kind") if isinstance(stage, dict) else None
    return {**(defaults.get(kind) or {}), **stage} if isinstance(kind, str) else stage


def _parse_override(override: str, source: Source) -> tuple[Location, str]:
    path, equals, value = override.partition("=")
    head, *rest = path.split(".")
    if not equals or not head:
        raise RecipeError([f"--set {override}: an override reads stage.field=value"])
    stages = given if isinstance(given := source.data.get("stages"), dict) else {}
    if head in stages and rest:
        return ("stages", head, *rest), value
    if head in {*Recipe.model_fields, "defaults"}:
        return (head, *rest), value
    raise RecipeError([f"--set {override}: no stage or field {head!r}{nearest(head, [*stages, *Recipe.model_fields])}"])


def _check_defaults(defaults: Any) -> list[Problem]:
    if not isinstance(defaults, dict):
        return [Problem(("defaults",), f"found {defaults!r}; meant is a mapping from a stage's kind to its fields")]
    problems = []
    for kind, fields in defaults.items():
        if kind not in STAGE_TYPES:
            problems.append(Problem(("defaults", kind), f"unknown kind of stage{nearest(str(kind), STAGE_TYPES)}"))
            continue
        if not isinstance(fields, dict):
            problems.append(Problem(("defaults", kind), f"found {fields!r}; meant is a mapping from field to value"))
            continue
        known = [key for key in _keys(STAGE_TYPES[kind]) if key != "kind"]
        problems += [
            Problem(("defaults", kind, field), f"unknown field{nearest(str(field), known)}")
            for field in fields
            if field not in known
        ]
    return problems


def _problem(fault: dict[str, Any], source: Source) -> Problem:
    """A pydantic error in the words of the recipe."""
    location, given = _without_tags(fault, source.data), fault["input"]
    if "[key]" in fault["loc"] and isinstance(given, bool):
        return Problem(location[:1], f"a name in it is read as {given} by YAML: put it into quotes, or rename it")
    if fault["type"] == "extra_forbidden":
        return Problem(location, f"unknown field{nearest(str(location[-1]), _known_keys(location, source.data))}")
    if fault["type"] == "missing":
        return Problem(location, "is missing" + (_which_mode(location) if location[0] == "modes" else ""))
    if fault["type"] == "union_tag_not_found":
        return Problem((*location, "kind"), f"is missing; known are {', '.join(_kinds(location))}")
    if fault["type"] == "union_tag_invalid":
        kind = str(fault["ctx"]["tag"])
        return Problem((*location, "kind"), f"found {kind!r}{nearest(kind, _options(fault['ctx']['expected_tags']))}")
    if fault["type"] == "literal_error":
        return Problem(location, f"found {shown(given)}{nearest(str(given), _options(fault['ctx']['expected']))}")
    if fault["type"] == "value_error":
        return Problem(location, str(fault["ctx"]["error"]))
    return Problem(location, f"found {shown(given)}; {fault['msg'][0].lower()}{fault['msg'][1:]}")


def _options(told: str) -> list[str]:
    """What pydantic says is expected: `'a', 'b' or 'c'`."""
    return [option.strip("' ") for option in told.replace(" or ", ",").split(",")]


def _follows(fault: dict[str, Any], others: Sequence[Any]) -> bool:
    """Whether a list counts as too short only because of what is wrong with its members."""
    place = fault["loc"]
    return fault["type"] == "too_short" and any(
        other["loc"][: len(place)] == place and other["loc"] != place for other in others
    )


def _which_mode(location: Location) -> str:
    return f": a mode of a name of its own says how its prompts are rendered{nearest(str(location[1]), MODES)}"


def _without_tags(fault: dict[str, Any], data: Any) -> Location:
    """pydantic names the member of a union within the path; the recipe does not, as what it holds shows."""
    path: list[Any] = []
    tag = None  # of the settings that were entered last, which may have a field of that name
    for part in fault["loc"]:
        if part == tag:
            tag = None
        elif part in data if isinstance(data, dict) else isinstance(data, list) and isinstance(part, int):
            data = data[part]
            path.append(part)
            tag = _tag(path, data)
    return (*path, fault["loc"][-1]) if fault["type"] == "missing" else tuple(path)


def _tag(path: Sequence[Any], data: Any) -> Any:
    """What tells some settings from others of a union."""
    if not isinstance(data, dict):
        return None
    return ("init" if "init" in data else "name") if path == ["model"] else data.get("kind", data.get("name"))


def _kinds(location: Location) -> list[str]:
    types = STAGE_TYPES if location[0] == "stages" else DOMAIN_TYPES
    return list(JUDGE_TYPES if location[2:3] == ("judge",) else types)


def _known_keys(location: Location, data: dict[str, Any]) -> list[str]:
    """The fields that could stand where `location` ends."""
    match location:
        case ("model", _):
            return _keys(TinyModel if "init" in data["model"] else PretrainedModel)
        case ("modes", _, _):
            return _keys(ModeConfig)
        case ("stages", name, "rewards", int(place), *path, _):
            reward = data["stages"][name]["rewards"][place]
            return _keys(_within(REWARD_TYPES.get(reward["name"], PythonReward), path, reward))
        case ("stages", name, *path, _):
            stage = data["stages"][name]
            return _keys(_within(STAGE_TYPES[stage["kind"]], path, stage))
        case ("domains", name, *path, _):
            domain = data["domains"][name]
            return _keys(_within(DOMAIN_TYPES[domain["kind"]], path, domain))
        case ("sandbox", _):
            return _keys(SandboxConfig)
    return [*_keys(Recipe), "defaults"]


def _within(model: type[StrictModel], path: Sequence[int | str], data: Any) -> type[StrictModel]:
    """The settings that a path of fields leads to, places of a list passed over; none where it leads elsewhere."""
    for name in path:
        data = data[name]
        if isinstance(name, str):
            field = next((own for key, own in model.model_fields.items() if name in (key, own.alias)), None)
            model = _chosen(_settings_in(field.annotation) if field else [], data)
    return model


def _chosen(models: Sequence[type[StrictModel]], data: Any) -> type[StrictModel]:
    """Of several settings those of the `kind` that is given; the first ones where it is not."""
    kind = data.get("kind") if isinstance(data, dict) and len(models) > 1 else None
    found = [own for own in models if kind is None or own.model_fields["kind"].default == kind]
    return found[0] if found else StrictModel


def _settings_in(annotation: Any) -> list[type[StrictModel]]:
    if isinstance(annotation, type) and issubclass(annotation, StrictModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _settings_in(part)]


def _keys(model: type[StrictModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _error(problems: list[Problem], source: Source) -> RecipeError:
    """Each problem where its value was written: in the stage, in the defaults of its kind, or in an override."""
    lines = {}
    for problem in problems:
        location = problem.location
        if len(location) > 2 and location[0] == "stages" and not source.holds(location[:3]):
            stage = source.data.get("stages", {}).get(location[1])
            default = ("defaults", str(stage.get("kind")) if isinstance(stage, dict) else "", *location[2:])
            location = default if source.holds(default[:3]) else location
        lines[f"{source.where(location)}: {'.'.join(map(str, location))}: {problem.message}"] = None
    return RecipeError(list(lines))


def located(problems: list[Problem], path: Path, overrides: Sequence[str]) -> RecipeError:
    """What was found out later of a recipe that was read from a file with these overrides."""
    source = Source.read(path)
    for override in overrides:
        source.override(*_parse_override(override, source))
    return _error(problems, source)


def recipe_schema() -> dict[str, Any]:
    """JSON schema of a recipe file, for editors: a stage may leave to `defaults` what it must have."""
    schema = Recipe.model_json_schema()
    schema["title"], definitions = "Polymath recipe", schema["$defs"]
    for stage in STAGE_TYPES.values():
        definition = definitions[stage.__name__]
        definition["required"] = ["kind"]
        definitions[f"{stage.__name__}Defaults"] = {
            **{key: value for key, value in definition.items() if key != "required"},
            "properties": {key: value for key, value in definition["properties"].items() if key != "kind"},
        }
    schema["properties"]["defaults"] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {kind: {"$ref": f"#/$defs/{stage.__name__}Defaults"} for kind, stage in STAGE_TYPES.items()},
    }
    return schema
