"""The `off_policy` stage: the student is fine-tuned on what the specialists of all domains write.

    for each domain: its teacher answers the prompts, and the domain's verifier says what is right
    fine-tune on what is right, by the likelihood of the tokens that a teacher wrote

Where on-policy distillation (distill/trainer.py) corrects the student on its own samples, this shows it another's.
Samples go to `samples.jsonl` batch by batch, and their tokens to the token log as they are drawn, so that a stage that
was killed goes on with what it had.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from datasets import Dataset
from transformers import set_seed
from trl.trainer.sft_config import SFTConfig as TrlSftConfig
from trl.trainer.sft_trainer import SFTTrainer

from distill.off_policy_config import OffPolicyConfig
from distill.teachers import check_vocabularies
from polymath import models
from polymath.data import Row
from polymath.engine.opening import OneAfterAnother
from polymath.engine.proof import PROBES, prove
from polymath.engine.wal import LoggedEngine, TokenLog
from polymath.episodes import play_rows
from polymath.evaluate import verify
from polymath.run_dir import StageDir, append_line, keep_lines, read_lines
from polymath.stage import StageJob
from polymath.training import Materials, Report, prepare, steps_up_to, tell_left_out, train, training_arguments
from polymath.vocabulary import decode

Line = dict[str, Any]  # of samples.jsonl


def run(job: StageJob, report: Report) -> None:
    """Sample what is not there yet, and train on what is kept for `max_steps` steps."""
    config = cast(OffPolicyConfig, job.config)
    materials = prepare(job)
    collect(job, materials, report)
    samples = kept(job)
    set_seed(job.seed)  # how a new adapter begins must not depend on what was sampled in this attempt
    dataset = sample_dataset(samples, materials.tokenizer)
    tell_left_out(dataset, config.max_length, config.max_steps, report)
    trainer = SFTTrainer(
        model=materials.model,
        args=TrlSftConfig(**training_arguments(job), max_length=config.max_length, completion_only_loss=True),
        train_dataset=dataset,
        processing_class=materials.tokenizer,
        peft_config=materials.peft_config,
    )
    train(trainer, job, report)


def collect(job: StageJob, materials: Materials, report: Report) -> None:
    """Let the teachers write the samples that are not in `samples.jsonl`."""
    config, folder = cast(OffPolicyConfig, job.config), StageDir(job.folder)
    teachers = {f"teacher_models.{domain}": job.models[stage] for domain, stage in config.teacher_models.items()}
    check_vocabularies(job.models[config.from_], teachers)
    keep_lines(folder.samples, lambda line: True)  # cuts off a line that a crash left unfinished
    written = {line["name"] for line in read_lines(folder.samples)}
    # A name begins with the step, as in the other logs: all are there before the first
    wanted = {
        f"0/{place}/{number}": row for place, row in enumerate(materials.rows) for number in range(config.num_samples)
    }
    keep_lines(folder.sandbox, lambda line: line["episode"] in written)
    engines = OneAfterAnother(config=config, seed=job.seed, at_once=config.generation_batch_size, bf16=config.bf16)
    for domain in config.domains:
        own = {name: row for name, row in wanted.items() if row.domain == domain and name not in written}
        if own:
            _ask(domain, own, job, materials, engines, report)
    engines.close()


def _ask(
    domain: str, wanted: dict[str, Row], job: StageJob, materials: Materials, engines: OneAfterAnother, report: Report
) -> None:
    """Have the domain's teacher answer rows, by the names of the samples."""
    config, folder = cast(OffPolicyConfig, job.config), StageDir(job.folder)
    stage, tokenizer = config.teacher_models[domain], materials.tokenizer
    source = job.models[stage]
    model = models.load_model(source, "float32").to("cuda" if torch.cuda.is_available() else "cpu").eval()
    engine = engines.engine(model, source)
    names = list(wanted)
    if not engine.shares_weights:
        prompts = [wanted[name].prompt for name in names[:PROBES]]
        gap = prove(engine, model, tokenizer(prompts, add_special_tokens=False)["input_ids"], bf16=config.bf16)
        append_line(folder.metrics, {"step": 0, f"sync/logprob_gap/{stage}": gap})
    log = TokenLog(folder.tokens, model.config.get_text_config().vocab_size)
    for start in range(0, len(names), config.generation_batch_size):
        own = names[start : start + config.generation_batch_size]
        rows = [wanted[name] for name in own]
        right = _write(own, rows, LoggedEngine(engine, log), job, materials)
        log.forget(steps_up_to(0))
        report(0, config.max_steps, {f"accuracy/{domain}": right})
    log.close()


def _write(
    names: Sequence[str], rows: Sequence[Row], engine: LoggedEngine, job: StageJob, materials: Materials
) -> float:
    """Sample one completion a row, have them verified and append them to the file; the mean of what they are worth."""
    config, tokenizer, form = cast(OffPolicyConfig, job.config), materials.tokenizer, materials.form
    episodes = play_rows([vars(row) for row in rows], names, engine, tokenizer, form, config.temperature)
    worth = [check.worth for check in verify(rows, episodes, tokenizer, form, job)]
    for row, episode, value in zip(rows, episodes, worth, strict=True):
        line = {"name": episode.name, "domain": row.domain, "mode": row.mode, "reward": value, "prompt": row.prompt}
        line |= {"completion": decode(tokenizer, episode.ids), "ids": episode.ids, "mask": episode.mask}
        append_line(StageDir(job.folder).samples, line)
    return sum(worth) / len(worth)


def kept(job: StageJob) -> list[Line]:
    """The samples to train on; how many there are goes to the stage's state. `ValueError` where a domain has none."""
    config, folder = cast(OffPolicyConfig, job.config), StageDir(job.folder)
    lines = list(read_lines(folder.samples))
    chosen = [line for line in lines if config.keep == "all" or line["reward"] >= 1]
    counts = {}
    for domain, teacher in config.teacher_models.items():
        sampled, own = (sum(line["domain"] == domain for line in of) for of in (lines, chosen))
        if not own:
            raise ValueError(
                f"teacher_models.{domain}: the verifier accepts none of the {sampled} samples of {teacher!r}: name a "
                "teacher that solves some of the tasks, raise num_samples or num_rows, or set keep: all"
            )
        counts[domain] = {"sampled": sampled, "kept": own}
    folder.update_state(samples=counts)
    return chosen


def sample_dataset(samples: Sequence[Line], tokenizer: Any) -> Dataset:
    """Samples as `SFTTrainer` reads them: the tokens that were drawn, of which those that a teacher wrote count."""
    prompts = tokenizer([sample["prompt"] for sample in samples], add_special_tokens=False)["input_ids"]
    return Dataset.from_list(
        [
            {"input_ids": prompt + sample["ids"], "completion_mask": [0] * len(prompt) + sample["mask"]}
            for prompt, sample in zip(prompts, samples, strict=True)
        ]
    )
