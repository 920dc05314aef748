"""vLLM in the learner's process: weights go over in memory, an adapter under a new name each time."""

import gc
import math
import os
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from pydantic import ValidationError
from transformers import AutoConfig

from polymath.engine.config import RANKS
from polymath.engine.delivery import Adapter, adapter_of, parts_of, weights_of
from polymath.engine.keys import MOST_ON_CPU, room_for_keys
from polymath.engine.protocol import WATCH_SECONDS, Request, Sample, Sampling, Watch
from polymath.engine.readback import adapter_difference, rows_difference, weights_equal
from polymath.engine.same_path import same_path

# In this process, as the learner is; on a CPU with threads of its own choice, and room for short sequences
ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}


@dataclass(frozen=True)
class ColocatedSettings:
    """What vLLM is started with."""

    dtype: str
    max_num_seqs: int
    seed: int
    gpu_memory_utilization: float = 0.3
    max_model_len: int | None = None
    enable_sleep_mode: bool = False
    lora_rank: int | None = None  # of the adapters that will come; None: whole weights will
    max_logprobs: int = 20


class ColocatedEngine:
    """One engine on one device. It starts with the weights of a folder; a delivery replaces them or adds an adapter."""

    shares_weights = False

    def __init__(self, folder: Path, settings: ColocatedSettings) -> None:
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from vllm import LLM, envs

        self._on_cpu = not torch.cuda.is_available()
        if settings.enable_sleep_mode and self._on_cpu:
            raise ValueError("vllm_enable_sleep_mode frees a GPU's memory, and there is no GPU here: take it out")
        lora: dict[str, Any] = {} if settings.lora_rank is None else _room_for_lora(settings.lora_rank)
        try:
            with same_path(folder, Path(envs.VLLM_CACHE_ROOT) / "polymath") as name:
                self.llm = LLM(
                    str(name),
                    skip_tokenizer_init=True,
                    generation_config="vllm",  # what a folder's own says of sampling is not asked for
                    dtype=settings.dtype,  # type: ignore[arg-type]
                    max_num_seqs=settings.max_num_seqs,
                    seed=settings.seed,
                    gpu_memory_utilization=settings.gpu_memory_utilization,
                    max_model_len=settings.max_model_len,
                    enable_sleep_mode=settings.enable_sleep_mode,
                    max_logprobs=settings.max_logprobs,
                    logprobs_mode="processed_logprobs",  # of the distribution that is drawn from
                    enforce_eager=self._on_cpu,
                    distributed_executor_backend=_executor(),
                    disable_log_stats=True,
                    **lora,
                    kv_cache_memory_bytes=_room_for_keys(folder, settings),
                )
        except ValidationError as error:
            said = error.errors()[0]["msg"].partition("Value error, ")
            raise ValueError(f"vLLM refuses what the stage's vllm_ fields ask for: {said[2] or said[0]}") from error
        self.max_length = int(self.llm.llm_engine.model_config.max_model_len)
        self._kept_otherwise: set[str] = set()  # layers, see `know_layout`
        self._own_rows: dict[str, tuple[list[int], torch.Tensor]] = {}  # the base's, where an adapter's stand now
        self.can_sleep, self.asleep = settings.enable_sleep_mode, False
        self.version, self.adapter, self.seed = 0, None, settings.seed

    def difference(self, policy: Any) -> str:
        """See `Engine.difference`; vLLM's buffers are read back."""
        if not isinstance(policy, PeftModel):
            equal = self._weights_equal(policy)
            compared = [name for name in equal if _layer_of(name) not in self._kept_otherwise]
            if not compared:
                return "all of its weights, none of which could be compared"
            return next((name for name in compared if not equal[name]), "")
        if self.adapter is None:
            return "the adapter, which is not asked for"
        adapter, manager = adapter_of(policy), self._runner.lora_manager._adapter_manager
        return adapter_difference(manager, self.adapter.lora_int_id, adapter) or rows_difference(
            self._runner.model, adapter
        )

    def know_layout(self, policy: Any) -> None:
        """Told of the policy whose weights the engine was started with: layers that differ now are kept otherwise.

        vLLM orders the rows of some models' matrices in its own way; such layers are left out of what is compared.
        """
        if not isinstance(policy, PeftModel):
            equal = self._weights_equal(policy)
            self._kept_otherwise = {_layer_of(name) for name, is_equal in equal.items() if not is_equal}

    def _weights_equal(self, policy: Any) -> dict[str, bool]:
        head = {"lm_head.weight": policy.get_output_embeddings().weight}
        return weights_equal(self._runner.model, head | parts_of(policy), self.version)

    @property
    def _runner(self) -> Any:
        """vLLM's model runner: of this process, where the learner's tensors are at hand."""
        return self.llm.llm_engine.model_executor.driver_worker.model_runner  # type: ignore[attr-defined]

    def deliver(self, policy: Any) -> None:
        """See `Engine.deliver`."""
        self.wake()
        self.version += 1
        if isinstance(policy, PeftModel):
            self._deliver_adapter(adapter_of(policy))
        else:
            self._deliver_weights(policy)
            self.llm.reset_prefix_cache()  # what an adapter of another name has prefilled is never taken for this one's

    @torch.no_grad()
    def _deliver_adapter(self, adapter: Adapter) -> None:
        """Put a copy in under a new name and the old one out; vLLM's own way leads over a folder on disk."""
        from vllm.lora.lora_model import LoRAModel
        from vllm.lora.peft_helper import PEFTHelper
        from vllm.lora.request import LoRARequest

        worker = self._runner.lora_manager
        manager, dtype = worker._adapter_manager, worker.lora_config.lora_dtype
        helper = PEFTHelper.from_dict(adapter.config)
        helper.validate_legal(worker.lora_config)
        copies = {path: tensor.to(worker.device, dtype, copy=True) for path, tensor in adapter.tensors.items()}
        lora = LoRAModel.from_lora_tensors(self.version, copies, helper, str(worker.device), dtype)
        worker.remove_all_adapters()
        manager.add_adapter(lora)
        if unknown := lora.loras.keys() - manager.modules.keys():  # vLLM would leave them out in silence
            raise ValueError(f"vLLM has no layer for the adapter's {sorted(unknown)[0]}: take it out of target_modules")
        manager.activate_adapter(lora.id)
        self.adapter = LoRARequest(f"policy-{self.version}", self.version, "in memory")
        self._deliver_rows(adapter)

    def _deliver_rows(self, adapter: Adapter) -> None:
        """Trained rows of the vocabulary go into the engine's copy of the base; those of the last adapter go out."""
        if not adapter.token_rows and not self._own_rows:
            return
        tables = {path.replace(".base_layer", ""): own for path, own in self._runner.model.named_parameters()}

        def write(table: str, ids: list[int], rows: torch.Tensor) -> tuple[list[int], torch.Tensor]:
            (parameter,) = (own for path, own in tables.items() if path.endswith(f"{table}.weight"))
            places = torch.tensor(ids, device=parameter.device)
            before = parameter[places]
            parameter[places] = rows.to(parameter)
            return ids, before

        for table, (ids, rows) in self._own_rows.items():
            write(table, ids, rows)
        self._own_rows = {table: write(table, adapter.token_ids, rows) for table, rows in adapter.token_rows.items()}
        if self._on_cpu:
            self._repack_head()

    def _deliver_weights(self, policy: Any) -> None:
        """All weights, in place. On a CPU vLLM keeps them packed, so that a layer has to be packed again."""
        if not self._on_cpu:
            self._runner.model.load_weights(weights_of(policy))
            return
        self._runner.reload_weights(weights_iterator=weights_of(policy))
        self._repack_head()
        self._repack_experts()

    def _repack_head(self) -> None:
        """A head has a packed copy on a CPU, which a delivery does not reach."""
        for module in self._runner.model.modules():
            if type(module).__name__ == "ParallelLMHead":
                module.quant_method.process_weights_after_loading(module)

    def _repack_experts(self) -> None:
        """Nor does it reach that of experts."""
        for module in self._runner.model.modules():
            if kernel := getattr(getattr(module, "quant_method", None), "moe_kernel", None):
                kernel.fused_experts.process_weights_after_loading(module)

    def generate(self, requests: Sequence[Request], watch: Watch | None = None) -> list[Sample]:
        """See `Engine.generate`."""
        self.wake()
        prompts = [{"prompt_token_ids": request.prompt_ids} for request in requests]
        params = [_params(request.sampling) for request in requests]
        with _noise_of(self.seed, requests), _no_garbage_collection():
            ids = self.llm.enqueue(prompts, params, lora_request=self.adapter, use_tqdm=False)  # type: ignore[arg-type]
            drawn = {own: _Drawn(place, requests[place].sampling) for place, own in enumerate(ids)}
            # Tokens are read from the core: what vLLM makes of each for its users takes time, and nobody reads it here
            self.llm.llm_engine.output_processor.abort_requests(ids, internal=True)
            self._draw(drawn, watch)
        return [one.sample() for one in drawn.values()]

    def _draw(self, drawn: dict[str, "_Drawn"], watch: Watch | None) -> None:
        core = self.llm.llm_engine.engine_core
        running, untold, told = len(drawn), list(drawn.values()), time.monotonic()
        while running:
            for out in core.get_output().outputs:
                running -= drawn[out.request_id].take(out)
            if watch and time.monotonic() - told > WATCH_SECONDS:
                watch([(one.place, one.sample(), one.done) for one in untold])
                untold, told = [one for one in untold if not one.done], time.monotonic()

    def wake(self) -> None:
        """See `Engine.wake`."""
        if self.asleep:
            torch.cuda.empty_cache()
            self.llm.wake_up()
            self.asleep = False

    def sleep(self) -> None:
        """Weights go to the host's memory, where the engine was asked to sleep; what was prefilled is gone."""
        if self.can_sleep and not self.asleep:
            self.llm.sleep(level=1)
            self.asleep = True

    def close(self) -> None:
        """See `Engine.close`."""
        from vllm.platforms import current_platform

        self.llm.llm_engine.engine_core.shutdown()
        del self.llm
        # CUDA graphs of all engines share a pool, which torch does not open again once its last graph is gone while
        # some of its memory is not: the next engine's have their own
        type(current_platform)._global_graph_pool = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _executor() -> str | None:
    """Each of a stage's processes samples by itself; vLLM has to know that they know each other already."""
    return "external_launcher" if int(os.environ.get("WORLD_SIZE", "1")) > 1 else None


def _layer_of(name: str) -> str:
    return name.rpartition(".")[0]


def _room_for_keys(folder: Path, settings: ColocatedSettings) -> int | None:
    """Bytes of KV cache (see `room_for_keys`)."""
    itemsize, config = getattr(torch, settings.dtype).itemsize, AutoConfig.from_pretrained(folder)
    room = partial(room_for_keys, config, settings.max_num_seqs, settings.max_model_len, itemsize)
    if not torch.cuda.is_available():  # where vLLM takes half of what is free if it is not told, and fills it
        return room(MOST_ON_CPU) or MOST_ON_CPU
    weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    return room(int(settings.gpu_memory_utilization * torch.cuda.mem_get_info()[1]) - weights)


@contextmanager
def _noise_of(seed: int, requests: Sequence[Request]) -> Iterator[None]:
    """Random numbers that follow from what is asked for; the learner's own are left as they are.

    vLLM takes them from torch's generator or from NumPy's, and a run that is gone on with begins both anew: without
    this, a completion would meet the numbers again that it was begun with.
    """
    asked = f"{seed}/{[(request.key, request.written) for request in requests]}"
    number, before = zlib.crc32(asked.encode()), np.random.get_state()
    with torch.random.fork_rng([torch.cuda.current_device()] if torch.cuda.is_available() else []):
        torch.manual_seed(number)
        np.random.seed(number)
        try:
            yield
        finally:
            np.random.set_state(before)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """vLLM makes objects by the million while it samples, and each collection looks at all of the learner's too."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _room_for_lora(rank: int) -> dict[str, Any]:
    room = next((own for own in RANKS if own >= rank), None)
    if room is None:
        raise ValueError(f"lora.r is {rank}, and vLLM takes at most {RANKS[-1]}: lower it")
    return {"enable_lora": True, "max_loras": 1, "max_lora_rank": room}


def _params(sampling: Sampling) -> Any:
    from vllm import SamplingParams

    return SamplingParams(
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        stop_token_ids=list(sampling.stop_token_ids),
        logprobs=sampling.top_k if sampling.logprobs else None,  # 0 is the sampled token's alone
        detokenize=False,
    )


class _Drawn:
    """What vLLM's core has drawn of one request, as it says it: a few tokens at a time."""

    def __init__(self, place: int, sampling: Sampling) -> None:
        self.place, self.done = place, False
        self._read = Sample(kept=[] if sampling.keeps() else None)
        self._unread: list[tuple[list[int], Any]] = []  # ids and their `LogprobsLists`

    def take(self, out: Any) -> bool:
        """Whether that was the last of it."""
        if out.new_token_ids:
            self._unread.append((out.new_token_ids, out.new_logprobs))
        self.done = out.finished
        return self.done

    def sample(self) -> Sample:
        """All of it so far; what is told now is not read again, and is added to next time."""
        for ids, part in self._unread:
            self._read.ids += ids
            if part is None:
                continue
            self._read.logprobs += part.logprobs[:, 0].tolist()  # the sampled token's is the first
            if self._read.kept is not None:
                self._read.kept += _kept(part)
        self._unread.clear()
        return self._read


def _kept(part: Any) -> list[list[int]]:
    """The tokens that can be drawn at each place, by number."""
    pairs = zip(part.logprob_token_ids, part.logprobs, strict=True)
    return [np.unique(ids[logprobs > -math.inf]).tolist() for ids, logprobs in pairs]
