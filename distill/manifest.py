"""Which teachers a checkpoint, or a model, learned from; named as in TRL's pull request 7215."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from polymath import models
from polymath.digest import model_digest
from polymath.run_dir import read_json, write_json

MANIFEST_FILE = "teacher_manifest.json"

Manifest = dict[str, dict[str, str]]  # teacher id -> kind and sha256, and an adapter's base_sha256


def manifest_of(folders: Mapping[str, Path]) -> Manifest:
    """What tells teachers apart, wherever they lie: the content of their weights and settings, and of their bases'."""
    bases = {models.base_of(folder) for folder in folders.values() if models.is_adapter(folder)}
    digests = {base: model_digest(base) for base in bases}
    return {
        teacher_id: {"kind": "adapter", "sha256": model_digest(folder), "base_sha256": digests[models.base_of(folder)]}
        if models.is_adapter(folder)
        else {"kind": "model", "sha256": model_digest(folder)}
        for teacher_id, folder in folders.items()
    }


def check_manifest(checkpoint: Path, manifest: Manifest) -> None:
    """Raise `ValueError` where the checkpoint learned from others."""
    known: Manifest = read_json(checkpoint / MANIFEST_FILE) or {}
    changed = [teacher_id for teacher_id in manifest if known.get(teacher_id) != manifest[teacher_id]]
    if changed := [*changed, *(known.keys() - manifest.keys())]:
        raise ValueError(
            f"{checkpoint / MANIFEST_FILE}: learned from another teacher {sorted(changed)[0]!r} than the one that is "
            f"there now: put the teacher back, or remove {checkpoint.parent} to begin the stage again"
        )


class ManifestCallback(TrainerCallback):
    """Puts the manifest into each checkpoint."""

    def __init__(self, checkpoints: Path, manifest: Manifest) -> None:
        self.checkpoints, self.manifest = checkpoints, manifest

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        write_json(self.checkpoints / f"checkpoint-{state.global_step}" / MANIFEST_FILE, self.manifest)
