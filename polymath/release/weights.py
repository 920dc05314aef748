"""A stage's model as others load it: an adapter beside its base, or whole weights; and whether it says the same."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from polymath import models
from polymath.release.provenance import BASE_FOLDER, Comparison
from polymath.run_dir import read_json, write_json

# By how many nats a token's log-probability may be another one, on the mean and at most; bfloat16 keeps 8 bits
BOUNDS: dict[models.Dtype, tuple[float, float]] = {"float32": (1e-4, 1e-2), "bfloat16": (0.03, 1.0)}


def write_adapter(source: Path, folder: Path, base: Path, base_name: str) -> None:
    """An adapter's files; with a base that stands nowhere else (`base_name` is empty) that too."""
    for path in source.iterdir():
        if path.is_file():
            shutil.copyfile(path, folder / path.name)
    if not base_name:
        shutil.copytree(base, folder / BASE_FOLDER)
    settings = read_json(folder / models.ADAPTER_FILE)
    write_json(folder / models.ADAPTER_FILE, settings | {"base_model_name_or_path": base_name or f"./{BASE_FOLDER}"})


def merged(source: Path) -> Any:
    """The model of a stage in float32, an adapter added to its base."""
    model = models.load_model(source, "float32").eval()
    return model.merge_and_unload() if models.is_adapter(source) else model


def write_whole(model: Any, tokenizer_of: Path, folder: Path, dtype: models.Dtype) -> None:
    """Weights in `dtype`, with their tokenizer; `model` is in that type afterwards."""
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    for weights in folder.glob("*.safetensors"):  # which safetensors lets nobody else read, and a server may be one
        weights.chmod((folder / "config.json").stat().st_mode)
    models.load_tokenizer(tokenizer_of).save_pretrained(folder)


@torch.no_grad()
def logprobs(model: Any, texts: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """Of each text of N tokens the log-probabilities `[N - 1]` of all but the first one, in nats.

    The model goes to a GPU that has room for it, and stays there.
    """
    model.to(_roomy_device(model))
    out = []
    for ids in texts:
        row = torch.tensor([list(ids)], device=model.device)
        logits = model(input_ids=row).logits[0, :-1].float()
        out.append(logits.log_softmax(-1).gather(1, row[0, 1:, None])[:, 0].cpu())
    return out


def _roomy_device(model: Any) -> str:
    if not torch.cuda.is_available():
        return "cpu"
    torch.cuda.empty_cache()  # of a model that was there before
    size = sum(weight.nbytes for weight in model.parameters())
    return "cuda" if 1.25 * size < torch.cuda.mem_get_info()[0] else "cpu"  # a quarter for what a text takes


def compare(before: Sequence[torch.Tensor], after: Sequence[torch.Tensor], dtype: models.Dtype) -> Comparison:
    """What an export changes, beside what its type may. Raises `ValueError` where there is nothing to compare."""
    if not before:
        raise ValueError("no text to compare the models on")
    apart = torch.cat([(a - b).abs() for a, b in zip(before, after, strict=True)])
    mean_bound, most_bound = BOUNDS[dtype]
    return Comparison(
        texts=len(before),
        tokens=len(apart),
        mean=apart.mean().item(),
        most=apart.max().item(),
        mean_bound=mean_bound,
        most_bound=most_bound,
    )
