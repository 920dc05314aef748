"""What a stage's result follows from, as one hash: settings, domains, files of the user's, code, and what it reads."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from polymath.digest import files_digest
from polymath.domains import Domain
from polymath.domains.python import find_module
from polymath.models import PretrainedModel, TinyModel
from polymath.stage import ModelStageConfig, StageConfig

ROOT = Path(__file__).resolve().parent.parent
# Files of the core whose change cannot change what a stage computes
SHOWS = "cli console doctor execution finding offline progress report plots rollouts_page summary new planning release"
SHOWS_ONLY = {*SHOWS.split(), "source", "recipe", "pipeline", "fingerprint", "manifest", "calibration"}


def fingerprint(given: Mapping[str, Any], runner: str, inherited: Mapping[str, str]) -> str:
    """Of a stage that is given this, is run by this module, and reads stages of these fingerprints."""
    config = given["config"]
    model = given["extra"].get("model")
    where = set(PretrainedModel.model_fields) if isinstance(config, ModelStageConfig) else None  # told by what it holds
    content = {
        "config": config.model_dump(mode="json", exclude=where),
        "domains": {name: describe_domain(domain) for name, domain in given["domains"].items()},
        "modes": {name: mode.model_dump(mode="json") for name, mode in given["modes"].items()},
        "chat": given["chat"],
        "seed": given["seed"],
        "model": _identify(model) if model else None,
        "inherited": dict(inherited),
        "code": _hash_code(runner.partition(".")[0]),
        "own_rewards": _own_rewards(given),
        "own_files": [files_digest([file], file.parent) for file in _own_files(config)],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _own_rewards(given: Mapping[str, Any]) -> dict[str, str]:
    """The code of the user's rewards and verifiers, by `module:function`."""
    names = [domain.reward for domain in given["domains"].values()]
    names += [reward.name for reward in getattr(given["config"], "rewards", ())]
    files = {name: find_module(name) for name in names if ":" in name}
    return {name: files_digest([file], file.parent) for name, file in files.items()}


def _own_files(config: StageConfig) -> list[Path]:
    """Files of the user's that a stage reads."""
    comparisons = getattr(getattr(config, "judge", None), "comparisons", None)
    return [comparisons] if comparisons and comparisons.exists() else []


def describe_domain(domain: Domain) -> dict[str, Any]:
    """A domain's settings, and the code of a user's own."""
    files: Sequence[Path] = getattr(domain, "source_files", tuple)()
    return domain.model_dump(mode="json") | {"read": [files_digest([file], file.parent) for file in files]}


@cache
def _hash_code(package: str) -> str:
    """The sources that a stage of this package runs: its own, the rewards', and the core's but for what only shows."""
    files = [
        path
        for folder in sorted({package, "polymath", "rewards"})
        for path in sorted((ROOT / folder).rglob("*.py"))
        if SHOWS_ONLY.isdisjoint((path.stem, path.parent.name))
    ]
    return files_digest(files, ROOT)


def _identify(model: TinyModel | PretrainedModel) -> Any:
    """A model on this machine by its content, wherever it lies; any other by its settings."""
    path = model.path() if isinstance(model, PretrainedModel) else None
    if path is None:
        return model.model_dump(mode="json")
    files = [path] if path.is_file() else sorted(file for file in path.iterdir() if file.is_file())
    return files_digest(files, path.parent)
