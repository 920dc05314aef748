"""The `base` stage: the recipe's model in one folder, whatever it came from."""

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, cast

from polymath import models, tiny, vocabulary
from polymath.chat import V4Format
from polymath.domains import is_evaluation_only, training_tasks
from polymath.run_dir import StageDir, whole_folder
from polymath.stage import StageJob

if TYPE_CHECKING:  # what it imports takes longer than to link a model
    from polymath.training import Report

CORPUS_LETTERS = 20_000  # of each text; merges are learned from what is usual
CORPUS_TASKS = 400  # tasks of each domain from which the tokenizer of a tiny model learns its merges


def run(job: StageJob, report: "Report") -> None:
    """Make, convert, download or link the model."""
    config: models.TinyModel | models.PretrainedModel = job.extra["model"]
    target = StageDir(job.folder).model
    if isinstance(config, models.TinyModel):
        model, tokenizer = tiny.build(config, *_corpus(job), job.seed)
        with whole_folder(target) as folder:
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
    elif job.chat == "v4":
        _join(config, target)
    elif config.name.endswith(".gguf"):
        with whole_folder(target) as folder:
            models.convert_gguf(cast(Path, config.path()), folder)
    else:
        _link(target, config.path() or _download(config))
    report(1, 1, {})


def _join(config: models.PretrainedModel, target: Path) -> None:
    """The model with the V4 tokens; a model that has them is linked as it is."""
    with tempfile.TemporaryDirectory() as scratch:
        source = _bring(config, Path(scratch) / "model")
        tokenizer = models.load_tokenizer(source)
        if models.is_adapter(source) and not vocabulary.speaks_v4(tokenizer):
            raise ValueError(
                f"model.name: {source} is an adapter whose base lacks the V4 tokens, and what is added to a vocabulary "
                "has no place in it: set chat: native, or name whole weights (polymath export --form merged)"
            )
        if vocabulary.speaks_v4(tokenizer) and config.path() == source:
            _link(target, source)
            return
        model = models.load_whole(source)
        vocabulary.join(model, tokenizer)
        with whole_folder(target) as folder:
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)


def _bring(config: models.PretrainedModel, scratch: Path) -> Path:
    """A folder that holds the model, in `scratch` if it has to be made."""
    if config.name.endswith(".gguf"):
        models.convert_gguf(cast(Path, config.path()), scratch)
        return scratch
    return config.path() or _download(config)


def _corpus(job: StageJob) -> tuple[list[str], list[str]]:
    """Texts for a tokenizer to learn from, and what in them is to be one token: tags, and the schemas of tools."""
    form = V4Format()
    domains = [domain for domain in job.domains.values() if not is_evaluation_only(domain)]
    tasks = [task for domain in domains for task in training_tasks(domain, CORPUS_TASKS, job.seed)]
    conversations = [
        form.conversation([*task.messages, *task.shown(name)], mode.think, task.tools)
        for task in tasks
        for name, mode in job.modes.items()
    ]
    schemas = {json.dumps(tool["function"], ensure_ascii=False) for task in tasks for tool in task.tools}
    tags = {tag for segments in conversations for segment in segments[1:] for tag in tiny.TAG.findall(segment.text)}
    texts = ["".join(segment.text for segment in segments)[:CORPUS_LETTERS] for segments in conversations]
    return texts, sorted(schemas | tags)


def _download(config: models.PretrainedModel) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(config.name, revision=config.revision))


def _link(place: Path, target: Path) -> None:
    place.unlink(missing_ok=True)
    place.symlink_to(target.resolve())
