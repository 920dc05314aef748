"""`polymath serve`: the server that answers with an exported model, as a command."""

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polymath import models
from polymath.engine.config import RANKS
from polymath.release.provenance import BASE_FOLDER, Provenance, read
from polymath.run_dir import read_json

V4 = ("--enable-auto-tool-choice", "--tool-call-parser", "deepseek_v4", "--reasoning-parser", "deepseek_v4")
# Nothing leaves the machine, and nothing is looked for elsewhere
QUIET = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}
ON_CPU = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}


@dataclass(frozen=True)
class Command:
    """What to start, with which environment besides one's own; `model` is the name to ask for."""

    model: str
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """As one types it."""
        return " ".join([*(f"{name}={value}" for name, value in self.environment.items()), shlex.join(self.arguments)])


def command(folder: Path, host: str, port: int, *, on_cpu: bool) -> Command:
    """The server of what `polymath export` wrote. Raises `ValueError` where none takes it as it is."""
    known = read(folder)
    folder = folder.resolve()
    where = ["--host", host, "--port", str(port)]
    if known.form == "gguf":
        return Command(known.name, ["llama-server", "--model", str(folder / f"{known.name}.gguf"), "--jinja", *where])
    # What `vllm serve` starts, which itself asks for a distribution called vllm, and builds for CPUs have another name
    vllm = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    arguments = [*vllm, *_model(known, folder, on_cpu=on_cpu), *where, "--generation-config", "vllm"]
    arguments += V4 if known.recipe["chat"] == "v4" else ()
    arguments += ["--default-chat-template-kwargs", json.dumps(_thinks(known))]
    arguments += ["--enforce-eager"] if on_cpu else []  # compiling takes longer there than most answers
    return Command(known.name, arguments, QUIET | (ON_CPU if on_cpu else {}))


def _thinks(known: Provenance) -> dict[str, Any]:
    """What a template is told where a request says nothing: to think as the first mode that was trained does."""
    recipe = known.recipe
    names = recipe["stages"][known.stage].get("modes") or list(recipe["modes"])
    think = recipe["modes"][names[0]]["think"]
    if recipe["chat"] != "v4":
        return {"enable_thinking": think != "non_think"}
    return {"thinking": think != "non_think"} | ({"reasoning_effort": "max"} if think == "max" else {})


def _model(known: Provenance, folder: Path, *, on_cpu: bool) -> list[str]:
    if known.form == "merged":
        return ["--model", str(folder), "--served-model-name", known.name]
    settings = read_json(folder / models.ADAPTER_FILE)
    if settings.get("trainable_token_indices") or settings.get("modules_to_save"):
        raise ValueError(
            f"{folder / models.ADAPTER_FILE}: this adapter has rows of the vocabulary, which vLLM takes with none: "
            "export it with --form merged"
        )
    base = models.base_of(folder)
    rank = max(settings["r"], *settings.get("rank_pattern", {}).values(), 1)
    room = next((own for own in RANKS if own >= rank), None)
    if room is None:
        raise ValueError(f"vLLM takes adapters of rank {RANKS[-1]} at most, and this has {rank}: --form merged")
    arguments = ["--model", str(base), "--served-model-name", f"{known.name}-{BASE_FOLDER}", "--tokenizer", str(folder)]
    arguments += ["--enable-lora", "--lora-modules", f"{known.name}={folder}", "--max-lora-rank", str(room)]
    # On a CPU vLLM would give the base's requests the last adapter
    return [*arguments, *(["--max-loras", "2"] if on_cpu else [])]
