"""SHA-256 of files, and of models by what they hold, wherever they lie."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from polymath import models
from polymath.run_dir import read_json

MODEL_FILES = ("*.safetensors", "*.bin", "*config.json")


def file_digest(path: Path) -> str:
    """Of one file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_digest(files: Iterable[Path], root: Path) -> str:
    """Of several, with their names below a folder."""
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.relative_to(root)} {file_digest(file)}\n".encode())
    return total.hexdigest()


def model_digest(folder: Path) -> str:
    """Of a model's weights and settings, but for where an adapter's base lies."""
    total = hashlib.sha256()
    for path in sorted(path for kind in MODEL_FILES for path in folder.glob(kind)):
        if path.name == models.ADAPTER_FILE:
            settings = {name: own for name, own in read_json(path).items() if name != "base_model_name_or_path"}
            digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        else:
            digest = file_digest(path)
        total.update(f"{path.name} {digest}\n".encode())
    return total.hexdigest()
