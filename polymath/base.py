"""The `base` stage: the recipe's model in one folder, whatever it came from."""

from pathlib import Path
from typing import cast

from polymath import models, tiny
from polymath.chat import MODES, V4Template
from polymath.domains import training_tasks
from polymath.run_dir import StageDir, whole_folder
from polymath.stage import StageJob
from polymath.training import Report

CORPUS_TASKS = 400  # tasks of each domain from which the tokenizer of a tiny model learns its merges


def run(job: StageJob, report: Report) -> None:
    """Make, convert, download or link the model."""
    config: models.TinyModel | models.PretrainedModel = job.extra["model"]
    target = StageDir(job.folder).model
    if isinstance(config, models.TinyModel):
        model, tokenizer = tiny.build(config, _corpus(job), job.seed)
        with whole_folder(target) as folder:
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
    elif config.name.endswith(".gguf"):
        with whole_folder(target) as folder:
            models.convert_gguf(cast(Path, config.path()), folder)
    else:
        _link(target, config.path() or _download(config))
    report(1, 1, {})


def _corpus(job: StageJob) -> list[str]:
    template = V4Template()
    tasks = [task for domain in job.domains.values() for task in training_tasks(domain, CORPUS_TASKS, job.seed)]
    return [
        template.prompt(task.question, mode) + template.completion(task.demonstration, mode)
        for task in tasks
        for mode in MODES
    ]


def _download(config: models.PretrainedModel) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(config.name, revision=config.revision))


def _link(place: Path, target: Path) -> None:
    place.unlink(missing_ok=True)
    place.symlink_to(target.resolve())
