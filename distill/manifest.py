"""Which teachers a checkpoint learned from; named as in TRL's pull request 7215."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from polymath import models
from polymath.run_dir import read_json, write_json

FILE = "teacher_manifest.json"

Manifest = dict[str, dict[str, str]]  # teacher id -> kind and sha256


def manifest_of(folders: Mapping[str, Path]) -> Manifest:
    """What tells teachers apart, wherever they lie: the content of their weights and settings."""
    return {
        teacher_id: {"kind": "adapter" if models.is_adapter(folder) else "model", "sha256": _digest(folder)}
        for teacher_id, folder in folders.items()
    }


def _digest(folder: Path) -> str:
    total = hashlib.sha256()
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("*config.json")]):
        with path.open("rb") as file:
            total.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def check_manifest(checkpoint: Path, manifest: Manifest) -> None:
    """Raise `ValueError` where the checkpoint learned from others."""
    known: Manifest = read_json(checkpoint / FILE) or {}
    changed = [teacher_id for teacher_id in manifest if known.get(teacher_id) != manifest[teacher_id]]
    if changed := [*changed, *(known.keys() - manifest.keys())]:
        raise ValueError(
            f"{checkpoint / FILE}: learned from another teacher {sorted(changed)[0]!r} than the one that is there now: "
            f"put the teacher back, or remove {checkpoint.parent} to begin the stage again"
        )


class ManifestCallback(TrainerCallback):
    """Puts the manifest into each checkpoint."""

    def __init__(self, checkpoints: Path, manifest: Manifest) -> None:
        self.checkpoints, self.manifest = checkpoints, manifest

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        write_json(self.checkpoints / f"checkpoint-{state.global_step}" / FILE, self.manifest)
