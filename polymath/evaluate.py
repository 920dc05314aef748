"""The `eval` stage: sampled accuracy on held-out tasks, in every domain and mode."""

import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch

from polymath import models
from polymath.chat import Format, format_for
from polymath.completion import read
from polymath.data import Row, held_out_rows
from polymath.domains import held_out_tasks
from polymath.domains.task import Task
from polymath.engine.opening import OneAfterAnother
from polymath.engine.proof import PROBES, prove
from polymath.episodes import Episode, play_rows
from polymath.eval_config import EvalConfig
from polymath.run_dir import StageDir, append_line, keep_lines, read_json, write_json, write_text
from polymath.stage import StageJob
from polymath.training import Report, peak_memory
from polymath.vocabulary import decode


class Check(NamedTuple):
    """What an episode is worth to its verifier, what that is made of, and whether it keeps to its mode's format."""

    worth: float
    parts: Mapping[str, float]
    keeps_format: bool


def run(job: StageJob, report: Report) -> None:
    """Score each model that has no scores yet, one file a model."""
    config = cast(EvalConfig, job.config)
    folder = StageDir(job.folder)
    total = len(config.models)
    engines = OneAfterAnother(config=config, seed=job.seed, at_once=config.batch_size, bf16=config.bf16)
    tasks = {name: held_out_tasks(job.domains[name], config.num_prompts, job.seed) for name in config.domains}
    for index, name in enumerate(config.models):
        path = folder.scores / f"{name}.json"
        if not path.exists():
            keep_lines(
                folder.sandbox, lambda line, done=config.models[:index]: line["episode"].partition("/")[0] in done
            )
            scores, samples, gap = _score_model(job, config, name, tasks, engines)
            write_text(
                folder.scores / f"{name}.jsonl", "".join(json.dumps(s, ensure_ascii=False) + "\n" for s in samples)
            )
            write_json(path, scores)
            accuracies = {f"accuracy/{s['model']}/{s['domain']}/{s['mode']}": s["accuracy"] for s in scores}
            append_line(folder.metrics, {"step": index + 1} | accuracies | gap)
        mean = sum(score["accuracy"] for score in read_json(path)) / len(read_json(path))
        report(index + 1, total, {f"accuracy/{name}": mean})
    engines.close()
    folder.update_state(peak_memory_bytes=peak_memory())


def _score_model(
    job: StageJob, config: EvalConfig, name: str, tasks: Mapping[str, Sequence[Task]], engines: OneAfterAnother
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, float]]:
    """Scores, samples, and the proof that they are this model's, where the engine has weights of its own."""
    source = job.models[name]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = models.load_tokenizer(source)
    model = models.load_model(source, "float32").to(device).eval()
    form = format_for(job.chat, tokenizer)
    engine = engines.engine(model, source)
    scores, samples, gap = [], [], {}
    for domain in config.domains:
        rows = held_out_rows(domain, job.domains[domain], tasks[domain], job.modes, form)
        if not gap and not engine.shares_weights:
            prompts = tokenizer([row.prompt for row in rows[:PROBES]], add_special_tokens=False)["input_ids"]
            gap = {f"sync/logprob_gap/{name}": prove(engine, model, prompts, bf16=config.bf16)}
        names = [f"{name}/{domain}/{place}" for place in range(len(rows))]
        episodes = play_rows([vars(row) for row in rows], names, engine, tokenizer, form, config.temperature)
        checks = verify(rows, episodes, tokenizer, form, job)
        for mode in job.modes:
            own = [index for index, row in enumerate(rows) if row.mode == mode]
            lengths = [sum(episodes[index].mask) for index in own]
            cell = {"model": name, "domain": domain, "mode": mode}
            scores.append(cell | summarise([checks[index] for index in own], lengths))
        samples += [
            {"domain": domain, "mode": row.mode, "prompt": row.prompt, "completion": decode(tokenizer, episode.ids)}
            | {"reward": check.worth, "keeps_format": check.keeps_format}
            | ({"parts": dict(check.parts)} if check.parts else {})
            for row, episode, check in zip(rows, episodes, checks, strict=True)
        ]
    return scores, samples, gap


def verify(
    rows: Sequence[Row], episodes: Sequence[Episode], tokenizer: Any, form: Format, job: StageJob
) -> list[Check]:
    """What each episode is worth to its row's verifier."""
    completions = [
        read(vars(row), episode.turns, episode.turn_ids, tokenizer, form, episode.name)
        for row, episode in zip(rows, episodes, strict=True)
    ]
    with job.extra["open_bench"](job.extra["sandbox"], StageDir(job.folder).sandbox) as bench:
        scores = asyncio.run(bench.verify(completions))
    return [Check(score.value, score.parts, own.keeps_format()) for score, own in zip(scores, completions, strict=True)]


def summarise(checks: Sequence[Check], lengths: Sequence[int]) -> dict[str, float]:
    """Accuracy with its error, share in the right format, tokens written.

    The error is the deviation of Beta(1 + right, 1 + wrong), what is known of a share after so many 0s and 1s where
    nothing was before: nearly the standard error of many, and not 0 where none of a few is right.
    """
    n, right = len(checks), sum(check.worth for check in checks)
    likely = (right + 1) / (n + 2)
    return {
        "accuracy": right / n,
        "stderr": math.sqrt(likely * (1 - likely) / (n + 3)),
        "format": sum(check.keeps_format for check in checks) / n,
        "mean_tokens": sum(lengths) / n,
        "n": n,
    }
