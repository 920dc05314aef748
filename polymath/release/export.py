"""`polymath export`: the model of a stage in a folder of its own, checked beside the stage's, with all that it is."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import AutoConfig

from polymath import models
from polymath.chat import format_for
from polymath.data import held_out_rows
from polymath.digest import file_digest, model_digest
from polymath.domains import Domain, training_tasks
from polymath.eval_config import EvalConfig
from polymath.recipe import Recipe
from polymath.release import provenance, weights
from polymath.release.card import card
from polymath.release.gguf_file import read_gguf, write_gguf
from polymath.run_dir import RunDir, StageDir, read_json, whole_folder, write_text
from polymath.stage import BASE
from polymath.summary import stage_folders, summarise

TEXTS = 8  # of each domain and mode, to compare the models on
LONGEST = 512  # tokens of each
# What of an adapter's own file tells which one it is
TELLING = "r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "target_modules", "target_parameters"


@dataclass(frozen=True)
class Source:
    """A stage of a run, and what its model came from."""

    recipe: Recipe
    stage: str
    model: Path
    base: Path  # the run's
    manifest: dict[str, Any]
    stages: Sequence[Mapping[str, Any]]  # `stage.json` of those before it, and of it
    scores: Sequence[dict[str, Any]]

    @classmethod
    def of(cls, recipe: Recipe, run: RunDir, stage: str | None) -> "Source":
        """Of a stage that is done, the last one with a model where none is named. Raises `ValueError`."""
        folders = stage_folders(recipe, run)
        done = [name for name, own in folders.items() if own.read_state().get("status") == "done"]
        known = [name for name in done if name != BASE and not isinstance(recipe.stages[name], EvalConfig)]
        if not known or (stage is not None and stage not in known):
            trained = f"those that trained a model, and are done: {', '.join(known) or 'none'}"
            raise ValueError(f"{run.path}: {f'stage {stage!r} is none of' if stage else 'there is none of'} {trained}")
        stage = stage or known[-1]
        way = [name for name in folders if name in _before(recipe, stage)]
        return cls(
            recipe=recipe,
            stage=stage,
            model=folders[stage].model,
            base=folders[BASE].model,
            manifest=read_json(run.manifest) or {},
            stages=[{"name": name, "adapter": _adapter(folders[name])} | folders[name].read_state() for name in way],
            scores=[own for own in summarise(recipe, run)["scores"] if own["model"] in (BASE, stage)],
        )

    def with_scores(self, scores: Sequence[dict[str, Any]]) -> "Source":
        """The same with these besides; what both have of a domain and mode is theirs."""
        both = {(own["model"], own["domain"], own["mode"]): own for own in (*self.scores, *scores)}
        return replace(self, scores=list(both.values()))

    @property
    def name(self) -> str:
        """The recipe's."""
        return self.recipe.name

    def trained_on(self) -> dict[str, Domain]:
        """The domains of the stages on the way."""
        names = [
            name
            for own in self.stages
            if own["name"] != BASE
            for name in self.recipe.stages[own["name"]].domain_names()
        ]
        return {name: self.recipe.domains[name] for name in dict.fromkeys(names)}

    def declared_base(self) -> str:
        """Where others find the base; '' where it stands in the run alone."""
        return str(self.base.resolve()) if self.base.is_symlink() else ""


class SaysOtherThings(ValueError):
    """What was written is further from the stage's model than the type of its weights may bring it."""


def export(source: Source, form: provenance.Form, dtype: models.Dtype | None, target: Path) -> provenance.Provenance:
    """Write the folder `target`, whole or not at all. Raises `ValueError` where the form has no place for the model.

    What is written is loaded again, and has to say what the stage's model says, within the bounds of its type. Where
    that is not given it is bfloat16, or float32 for a model that says other things once it is rounded.
    """
    if form == "adapter" and not models.is_adapter(source.model):
        raise ValueError(f"stage {source.stage} trained whole weights, no adapter: --form merged writes these")
    texts = _texts(source)
    before = weights.logprobs(models.load_model(source.model, "float32").eval(), texts)
    if form == "adapter":
        return _exported(source, form, "float32", target, texts, before)
    if dtype is None:
        with suppress(SaysOtherThings):
            return _exported(source, form, "bfloat16", target, texts, before)
    return _exported(source, form, dtype or "float32", target, texts, before)


def _exported(
    source: Source,
    form: provenance.Form,
    dtype: models.Dtype,
    target: Path,
    texts: Sequence[Sequence[int]],
    before: Sequence[Tensor],
) -> provenance.Provenance:
    with whole_folder(target) as folder:
        _write(source, form, dtype, folder)
        after = weights.logprobs(_loaded(form, folder, source), texts)
        comparison = weights.compare(before, after, dtype)
        if not comparison.holds():
            rounded = "in bfloat16, which rounds weights, it" if dtype == "bfloat16" else "what was written"
            raise SaysOtherThings(
                f"stage {source.stage}: {rounded} says other things than the stage's model: log-probabilities are "
                f"{comparison.mean:.2g} nats apart on the mean (bound {comparison.mean_bound:g}), and "
                f"{comparison.most:.2g} at most (bound {comparison.most_bound:g})"
                + (": leave out --dtype, or take float32" if dtype == "bfloat16" else "")
            )
        known = _described(source, form, folder, comparison)
        known = known.model_copy(update={"dtype": None if form == "adapter" else dtype})
        write_text(folder / provenance.CARD, card(known))
        known = known.model_copy(update={"files": provenance.digests(folder)})
        provenance.write(known, folder)
    return known


def _write(source: Source, form: provenance.Form, dtype: models.Dtype, folder: Path) -> None:
    if form == "adapter":
        weights.write_adapter(source.model, folder, source.base, source.declared_base())
        return
    model = weights.merged(source.model)
    if form == "merged":
        weights.write_whole(model, source.model, folder, dtype)
    else:
        write_gguf(model, source.model, folder / f"{source.name}.gguf", source.name, dtype)


def _loaded(form: provenance.Form, folder: Path, source: Source) -> Any:
    """What was written, as somebody else would load it."""
    if form == "gguf":
        return read_gguf(folder / f"{source.name}.gguf", AutoConfig.from_pretrained(models.base_of(source.model)))
    return models.load_model(folder, "float32").eval()


def _texts(source: Source) -> list[list[int]]:
    """Demonstrations of all domains, prompt and completion, as tokens."""
    tokenizer = models.load_tokenizer(source.model)
    form = format_for(source.recipe.chat, tokenizer)
    texts = []
    for name, domain in source.trained_on().items():
        rows = held_out_rows(name, domain, training_tasks(domain, TEXTS, source.recipe.seed), source.recipe.modes, form)
        texts += [row.prompt + "".join(segment.text for segment in row.completion) for row in rows]
    encoded = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return [ids[:LONGEST] for ids in encoded]


def _described(
    source: Source, form: provenance.Form, folder: Path, comparison: provenance.Comparison
) -> provenance.Provenance:
    model, recipe = source.recipe.model, source.recipe.dump()
    given = model if isinstance(model, models.PretrainedModel) else None
    inside = (folder / provenance.BASE_FOLDER).exists()
    fields = ("name", "kind", "fingerprint", "data_sha256", "seconds", "adapter")
    return provenance.Provenance(
        name=source.name,
        stage=source.stage,
        form=form,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        files={},  # once all of them are there
        base=provenance.Base(
            name=given.name if given else "",
            revision=given.revision if given else None,
            place=f"./{provenance.BASE_FOLDER}" if inside else str(source.base.resolve()),
            sha256=model_digest(source.base.resolve()),
        ),
        data=tuple(_data(source)),
        stages=tuple(provenance.Stage.model_validate({key: own.get(key) for key in fields}) for own in source.stages),
        seed=source.recipe.seed,
        recipe=recipe,
        recipe_sha256=provenance.recipe_digest(recipe),
        made_on=source.manifest,
        scores=tuple(source.scores),
        comparison=comparison,
    )


def _data(source: Source) -> Iterator[provenance.DataFile]:
    for name, domain in source.trained_on().items():
        files: Sequence[Path] = getattr(domain, "source_files", tuple)()
        for file in files:
            size, digest = file.stat().st_size, file_digest(file)
            yield provenance.DataFile(domain=name, place=str(file.resolve()), bytes=size, sha256=digest)


def _adapter(folder: StageDir) -> dict[str, Any] | None:
    """The settings of the adapter that a stage left, by which it is known."""
    settings = read_json(folder.model / models.ADAPTER_FILE)
    return {name: settings.get(name) for name in TELLING} if settings else None


def _before(recipe: Recipe, stage: str) -> set[str]:
    """A stage, and all whose models it reads, directly or not."""
    found, todo = {BASE}, [stage]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += recipe.stages[name].parents()
    return found
