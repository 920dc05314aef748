"""The `eval` stage: sampled accuracy on held-out tasks, in every domain and mode."""

import json
import math
import zlib
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch

from polymath import models
from polymath.chat import template_for
from polymath.data import Row, held_out_rows
from polymath.eval_config import EvalConfig
from polymath.run_dir import StageDir, append_line, read_json, write_json, write_text
from polymath.stage import StageJob
from polymath.training import Report, peak_memory

Verify = Callable[[str, str, Any, str, str], float]  # reward's name, text, mode, answer, end-of-turn token


def run(job: StageJob, report: Report) -> None:
    """Score each model that has no scores yet, one file a model."""
    config = cast(EvalConfig, job.config)
    folder = StageDir(job.folder)
    total = len(config.models)
    for index, name in enumerate(config.models):
        path = folder.scores / f"{name}.json"
        if not path.exists():
            scores, samples = _score_model(job, config, name)
            write_text(
                folder.scores / f"{name}.jsonl", "".join(json.dumps(s, ensure_ascii=False) + "\n" for s in samples)
            )
            write_json(path, scores)
            accuracies = {f"accuracy/{s['model']}/{s['domain']}/{s['mode']}": s["accuracy"] for s in scores}
            append_line(folder.metrics, {"step": index + 1} | accuracies)
        mean = sum(score["accuracy"] for score in read_json(path)) / len(read_json(path))
        report(index + 1, total, {f"accuracy/{name}": mean})
    folder.update_state(peak_memory_bytes=peak_memory())


def _score_model(job: StageJob, config: EvalConfig, name: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    source = job.models[name]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = models.load_tokenizer(source)
    model = models.load_model(source, "float32").to(device).eval()
    template = template_for(job.chat, tokenizer)
    torch.manual_seed(zlib.crc32(f"{job.seed}/{name}".encode()))  # the same whichever model is scored first
    scores, samples = [], []
    for domain in config.domains:
        for mode in config.modes:
            rows = held_out_rows(domain, job.domains[domain], mode, config.num_prompts, job.seed, template)
            ids = sample(model, tokenizer, [row.prompt for row in rows], config)
            texts = tokenizer.batch_decode(ids, skip_special_tokens=False)
            values = _verify(rows, texts, template.eos_token, job.extra["verify"])
            scores.append({"model": name, "domain": domain, "mode": mode} | summarise(values, [len(i) for i in ids]))
            samples += [
                {"domain": domain, "mode": mode, "prompt": row.prompt, "completion": text, "reward": value}
                for row, text, value in zip(rows, texts, values, strict=True)
            ]
    return scores, samples


def _verify(rows: Sequence[Row], texts: Sequence[str], eos_token: str, verify: Verify) -> list[float]:
    return [verify(row.reward, text, row.mode, row.answer, eos_token) for row, text in zip(rows, texts, strict=True)]


def summarise(values: Sequence[float], lengths: Sequence[int]) -> dict[str, float]:
    """Accuracy with its standard error (of a mean of 0s and 1s), and tokens of a completion."""
    n = len(values)
    accuracy = sum(values) / n
    return {
        "accuracy": accuracy,
        "stderr": math.sqrt(accuracy * (1 - accuracy) / n),
        "mean_tokens": sum(lengths) / n,
        "n": n,
    }


@torch.inference_mode()
def sample(model: Any, tokenizer: Any, prompts: Sequence[str], config: EvalConfig) -> list[list[int]]:
    """One completion a prompt, as token ids that end with the end-of-turn token or at the length limit."""
    sampling: dict[str, Any] = {"do_sample": config.temperature > 0, "top_k": 0}
    if config.temperature > 0:
        sampling["temperature"] = config.temperature
    completions: list[list[int]] = []
    for start in range(0, len(prompts), config.batch_size):
        batch = tokenizer(
            list(prompts[start : start + config.batch_size]),
            padding=True,
            add_special_tokens=False,
            return_tensors="pt",
        ).to(model.device)
        with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=config.bf16):
            output = model.generate(
                **batch,
                **sampling,
                max_new_tokens=config.max_completion_length,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        completions += [
            _until(tokenizer.eos_token_id, row) for row in output[:, batch["input_ids"].shape[1] :].tolist()
        ]
    return completions


def _until(eos: int, ids: list[int]) -> list[int]:
    return ids[: ids.index(eos) + 1] if eos in ids else ids
