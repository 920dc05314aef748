"""The engine that a stage's settings ask for."""

import json
from pathlib import Path
from typing import Any, cast

from peft import PeftModel

from polymath import models
from polymath.engine.config import EngineConfig
from polymath.engine.local import LocalEngine
from polymath.engine.protocol import Engine


def open_engine(
    config: EngineConfig,
    policy: Any,
    source: Path,
    *,
    seed: int,
    at_once: int,
    bf16: bool,
    top_k: int = 0,
) -> Engine:
    """An engine that samples from `policy`, which was loaded from `source`.

    `at_once` requests run side by side, and with `top_k` it tells of so many tokens in each place.
    """
    size = policy.config.get_text_config().vocab_size
    if top_k > size:
        raise ValueError(f"top_k is {top_k}, and the vocabulary has {size} tokens: lower it, or leave it out")
    if not config.use_vllm:
        engine: Engine = LocalEngine(policy, seed=seed, batch_size=at_once, bf16=bf16)
        return engine
    rank = cast(Any, policy.active_peft_config).r if isinstance(policy, PeftModel) else None
    if config.vllm_mode == "server":
        from polymath.engine.server import ServerEngine

        return ServerEngine(config, rank)
    from polymath.engine.colocated import ColocatedEngine, ColocatedSettings

    settings = ColocatedSettings(
        dtype="bfloat16" if bf16 else "float32",
        max_num_seqs=at_once,
        seed=seed,
        gpu_memory_utilization=config.vllm_gpu_memory_utilization,
        max_model_len=config.vllm_max_model_length,
        enable_sleep_mode=config.vllm_enable_sleep_mode,
        lora_rank=rank,
        max_logprobs=max(ColocatedSettings.max_logprobs, top_k),
    )
    colocated = ColocatedEngine(models.base_of(source), settings)
    colocated.know_layout(policy)
    return colocated


class OneAfterAnother:
    """The engine of models that are scored in turn: vLLM starts slowly, and is kept where it has room for the next."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings  # of `open_engine`
        self._engine: Engine | None = None
        self._holds: tuple[Any, ...] = ()

    def engine(self, policy: Any, source: Path) -> Engine:
        """An engine that samples from `policy`, which was loaded from `source`."""
        holds = _room(policy, source)
        if self._engine is None or holds != self._holds:
            self.close()
            self._engine, self._holds = open_engine(policy=policy, source=source, **self.settings), holds
        self._engine.deliver(policy)
        return self._engine

    def close(self) -> None:
        """Let go of the last one."""
        if self._engine is not None:
            self._engine.close()
        self._engine = None


def _room(policy: Any, source: Path) -> tuple[Any, ...]:
    """What an engine was started for: adapters of one rank on one base, or whole weights of one architecture."""
    if isinstance(policy, PeftModel):
        return models.base_of(source), cast(Any, policy.active_peft_config).r
    return type(policy), json.dumps(policy.config.to_diff_dict(), sort_keys=True, default=str)
