"""Adapters that go on: a stage whose `from` holds one trains that one, whatever of it the recipe leaves unsaid."""

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from polymath import models
from polymath.models import PretrainedModel
from polymath.run_dir import read_json
from polymath.source import Problem
from polymath.stage import BASE, LoraConfig, ModelStageConfig, TrainingConfig

if TYPE_CHECKING:
    from polymath.recipe import Recipe, Stage

OF_A_STAGE = {"load_in_4bit", "train_new_tokens"}  # how it trains an adapter, not what that is


def with_adapters(recipe: "Recipe") -> tuple["Recipe", list[Problem]]:
    """The recipe in which each stage has as `lora` the adapter that it trains, and what in it contradicts that.

    What another stage wrote is known from its settings, what lies in a folder of this machine from its file; of a model
    of a hub, and of merged adapters, only the stage itself can tell.
    """
    known, problems = {BASE: _in_folder(recipe.model)}, list[Problem]()
    stages: dict[str, Stage] = dict(recipe.stages)
    for name in recipe.order():
        stage = stages[name]
        if isinstance(stage, ModelStageConfig):
            known[name] = _in_folder(stage)
        if not isinstance(stage, TrainingConfig):
            continue
        before = known.get(stage.from_)
        if before is not None:
            problems += _contradictions(name, stage.lora, before, stage.from_)
            try:
                stage = stages[name] = _going_on(stage, before)
            except ValidationError as error:
                message = error.errors()[0]["msg"].removeprefix("Value error, ")
                problems.append(Problem(("stages", name, "from"), f"{stage.from_!r} is an adapter: {message}"))
        known[name] = stage.lora
    return recipe.model_copy(update={"stages": stages}), problems


def _contradictions(name: str, given: LoraConfig | None, before: LoraConfig, parent: str) -> list[Problem]:
    fields = sorted(given.model_fields_set - OF_A_STAGE) if given else []
    return [
        Problem(
            ("stages", name, "lora", field),
            f"found {getattr(given, field)}; the adapter of {parent!r}, which goes on here, has "
            f"{getattr(before, field)}: leave it out",
        )
        for field in fields
        if _differ(getattr(given, field), getattr(before, field))
    ]


def _differ(given: Any, there: Any) -> bool:
    if isinstance(given, tuple) and isinstance(there, tuple):
        return set(given) != set(there)
    # "all-linear" beside the modules that it was
    return type(given) is type(there) and given != there


def _going_on(stage: Any, before: LoraConfig) -> Any:
    """The stage with the adapter's settings; checked again, for not every engine takes every adapter."""
    own = (stage.lora or LoraConfig()).model_dump(include=OF_A_STAGE)
    lora = before.model_copy(update=own)
    if lora == stage.lora:
        return stage
    return type(stage).model_validate(stage.model_dump(by_alias=True) | {"lora": lora.model_dump()})


def _in_folder(model: Any) -> LoraConfig | None:
    """Of a model on this machine that is a LoRA adapter; None for any other."""
    folder = model.path() if isinstance(model, PretrainedModel) else None
    if folder is None or not models.is_adapter(folder):
        return None
    try:
        settings = read_json(folder / models.ADAPTER_FILE) or {}
        if settings.get("peft_type") != "LORA":
            return None
        fields = LoraConfig.model_fields.keys() - OF_A_STAGE
        return LoraConfig.model_validate({name: settings[name] for name in fields if settings.get(name) is not None})
    except (ValueError, OSError, TypeError, AttributeError):
        return None  # PEFT will say what is wrong with it
