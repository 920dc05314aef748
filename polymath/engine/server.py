"""A vLLM server of the user's: weights go over as files that both see, an adapter under a new name each time.

One for LoRA, or one for whole weights, on the learner's machine (containers share /dev/shm with `--ipc=host`):

    VLLM_ALLOW_RUNTIME_LORA_UPDATING=True python -m vllm.entrypoints.openai.api_server --model FOLDER --host 127.0.0.1 \
        --port 8000 --generation-config vllm --logprobs-mode processed_logprobs --enable-lora --max-lora-rank 16
    VLLM_SERVER_DEV_MODE=1 python -m vllm.entrypoints.openai.api_server --model FOLDER --host 127.0.0.1 \
        --port 8000 --generation-config vllm --logprobs-mode processed_logprobs

- FOLDER is the base that is trained. `top_k` needs `--max-logprobs TOP_K`.
- Stages that sample at once need `--max-loras` of their number (on a CPU, where vLLM gives the base's requests the last
  adapter, one more), and one process that takes requests (`--api-server-count 1`): the others do not know an adapter.
- Whole weights stay in the server: adapters of the base need one that was started anew, and so does a failed reload.
- On a CPU vLLM leaves a tied head as it was: there, whole weights need a model with a head of its own.
- These calls load whatever a path names: nobody else may reach it.
"""

import asyncio
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import torch
from peft import PeftModel
from safetensors.torch import save_file

from polymath.engine.config import EngineConfig
from polymath.engine.delivery import Adapter, adapter_of, weights_of
from polymath.engine.protocol import WATCH_SECONDS, Request, Sample, Sampling, Watch
from polymath.engine.remote import COMPLETIONS, LOAD, RELOAD, RESET, UNLOAD, Server, messages, said_by

HEALTH_SECONDS = 240.0  # for a server that is starting, as in TRL
QUIET_SECONDS = 30.0  # without a token of any request: one that shuts down ends no connection, and has to be asked
CONNECTIONS = 512  # the other requests wait here: a process may often open 1024 files
CHUNK_TOKENS = 16  # of a message: one for each token would cost the server more than the token
NEVER = -9999.0  # how the server writes the logarithm of 0
SHARED_MEMORY = Path("/dev/shm")
# Tokens out, and nothing of what the folder says of sampling
COMMON = {
    "return_token_ids": True,
    "return_tokens_as_token_ids": True,
    "stream_interval": CHUNK_TOKENS,
    "ignore_eos": True,  # what ends a completion stands in `stop_token_ids`
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}


@dataclass
class _Stream:
    """A request under way, and what has come of it."""

    request: Request
    sample: Sample
    is_complete: bool = False

    def take(self, choice: Mapping[str, Any]) -> None:
        """What one message has; whoever sees a sample's last token sees as well that it is complete."""
        news = choice["logprobs"] or {"token_logprobs": [], "top_logprobs": []}
        kept = [_support(top) for top in news["top_logprobs"]] if self.request.sampling.keeps() else None
        self.sample.extend(Sample(choice["token_ids"] or [], news["token_logprobs"], kept))
        self.is_complete = choice["finish_reason"] is not None and self._is_whole()

    def _is_whole(self) -> bool:
        ids, sampling = self.sample.ids, self.request.sampling
        ended = bool(ids) and (len(ids) == sampling.max_tokens or ids[-1] in sampling.stop_token_ids)
        return ended and (not sampling.logprobs or len(ids) == len(self.sample.logprobs))


class ServerEngine:
    """Samples on a server that was started with the base's weights; RuntimeError where it refuses or goes away."""

    shares_weights = False
    can_sleep = False

    def __init__(self, config: EngineConfig, lora_rank: int | None, wait_seconds: float = HEALTH_SECONDS) -> None:
        assert config.vllm_server_base_url is not None, "EngineConfig asks for it"
        self.server = Server(config.vllm_server_base_url.rstrip("/"), lora_rank)
        self.server.wait(wait_seconds)
        base = next(card for card in self.server.call("GET", "/v1/models")["data"] if not card.get("parent"))
        self.max_length = min(base["max_model_len"], config.vllm_max_model_length or base["max_model_len"])
        self.model: str = base["id"]  # or an adapter's name
        self._check_logprobs()
        # No name twice: the server keeps what it prefilled under a name, of runs that are gone as well
        self.name, self.version, self.adapter = f"policy-{secrets.token_hex(4)}", 0, ExitStack()

    def _check_logprobs(self) -> None:
        """Where one token alone can be drawn it is certain, unless logprobs are those of before the cut."""
        certain = Request("", [1, 2, 3], Sampling(1, (), top_k=1))
        (choice,) = self.server.call("POST", COMPLETIONS, self._body(certain))["choices"]
        if choice["logprobs"]["token_logprobs"][0] < -1e-4:
            raise RuntimeError(
                f"{self.server.url} gives logprobs of another distribution than the one it draws from: "
                "start the server with --logprobs-mode processed_logprobs"
            )

    def deliver(self, policy: Any) -> None:
        """See `Engine.deliver`."""
        self.version += 1
        if isinstance(policy, PeftModel):
            self._deliver_adapter(adapter_of(policy), f"{self.name}-{self.version}")
        else:
            self._deliver_weights(policy)

    def difference(self, policy: Any) -> str:
        """See `Engine.difference`; of adapters the server says their names, of weights nothing."""
        names = {card["id"] for card in self.server.call("GET", "/v1/models")["data"]}
        due = f"{self.name}-{self.version}" if isinstance(policy, PeftModel) else self.model
        return "" if self.model == due and due in names else f"the adapter {due}, which is not asked for or not there"

    def _deliver_adapter(self, adapter: Adapter, name: str) -> None:
        """The new one in, the old one out; its files stay as long as the server may look for them."""
        if adapter.token_rows:
            raise ValueError(
                "lora.train_new_tokens trains rows of the vocabulary, which a server takes with no adapter: "
                "set vllm_mode: colocate, or lora.train_new_tokens: false"
            )
        with ExitStack() as undo:
            folder = Path(undo.enter_context(_fresh_folder(adapter.tensors)))
            _save(adapter.tensors, folder / "adapter_model.safetensors")
            (folder / "adapter_config.json").write_text(json.dumps(adapter.config, default=sorted), encoding="utf-8")
            self.server.call("POST", LOAD, {"lora_name": name, "lora_path": str(folder)})
            undo.callback(self._unload, name)
            self.model = name
            self.adapter.close()
            self.adapter = undo.pop_all()

    def _unload(self, name: str) -> None:
        with suppress(RuntimeError):  # a server that was stopped, or started anew, has it no more
            self.server.call("POST", UNLOAD, {"lora_name": name})

    def _deliver_weights(self, policy: Any) -> None:
        weights = dict(weights_of(policy))
        with _fresh_folder(weights) as folder:
            _save(weights, Path(folder, "model.safetensors"))
            policy.config.save_pretrained(folder)
            self.server.call("POST", RELOAD, {"method": "reload_weights", "kwargs": {"weights_path": folder}})
        if not (self.server.call("POST", RESET) or {}).get("success", True):
            raise self.server.error(RESET, "what the old weights prefilled is still in use: does another run sample?")

    def generate(self, requests: Sequence[Request], watch: Watch | None = None) -> list[Sample]:
        """See `Engine.generate`; where a request fails, `watch` is told what all have before that is raised."""
        streams = [_Stream(own, Sample(kept=[] if own.sampling.truncates() else None)) for own in requests]
        asyncio.run(self._sample(streams, watch))
        return [stream.sample for stream in streams]

    async def _sample(self, streams: Sequence[_Stream], watch: Watch | None) -> None:
        limits, timeout = httpx.Limits(max_connections=CONNECTIONS), httpx.Timeout(None, connect=30.0)
        async with httpx.AsyncClient(limits=limits, timeout=timeout, trust_env=False) as client:
            tasks = {asyncio.create_task(self._follow(client, stream)) for stream in streams}
            try:
                await self._attend(tasks, streams, watch or (lambda told: None))
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _attend(self, running: set[asyncio.Task[None]], streams: Sequence[_Stream], watch: Watch) -> None:
        """Until all is sampled: tell what has come, and raise what went wrong."""
        untold, drawn, last = list(enumerate(streams)), 0, time.monotonic()
        while running:
            done, running = await asyncio.wait(running, timeout=WATCH_SECONDS, return_when=asyncio.FIRST_EXCEPTION)
            watch([(place, own.sample, own.is_complete) for place, own in untold])
            untold = [(place, own) for place, own in untold if not own.is_complete]
            for task in done:
                task.result()
            if (total := sum(len(own.sample.ids) for own in streams)) > drawn:
                drawn, last = total, time.monotonic()
            elif time.monotonic() - last > QUIET_SECONDS:
                self.server.call("GET", "/health", seconds=2 * QUIET_SECONDS)
                last = time.monotonic()

    async def _follow(self, client: httpx.AsyncClient, stream: _Stream) -> None:
        """One request to its end."""
        body = self._body(stream.request) | {"stream": True}
        try:
            async with client.stream("POST", self.server.url + COMPLETIONS, json=body) as answer:
                if not answer.is_success:
                    raise self.server.error(COMPLETIONS, said_by((await answer.aread()).decode()))
                async for message in messages(answer):
                    self._take(stream, message)
        except httpx.HTTPError as error:
            raise self.server.error(COMPLETIONS, f"{type(error).__name__}: {error}") from error
        if not stream.is_complete:
            drawn, budget = len(stream.sample.ids), stream.request.sampling.max_tokens
            raise self.server.error(COMPLETIONS, f"ended after {drawn} of {budget} tokens, the last no stop token")

    def _take(self, stream: _Stream, message: bytes) -> None:
        own = json.loads(message)
        if "error" in own:
            raise self.server.error(COMPLETIONS, own["error"]["message"])
        if own["model"] != self.model:
            raise RuntimeError(f"{self.server.url} sampled with {own['model']}, and {self.model} was delivered last")
        for choice in own["choices"]:
            stream.take(choice)

    def _body(self, request: Request) -> dict[str, Any]:
        sampling = request.sampling
        return COMMON | {
            "model": self.model,
            "prompt": request.prompt_ids,
            "max_tokens": sampling.max_tokens,
            "stop_token_ids": list(sampling.stop_token_ids),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "logprobs": sampling.top_k if sampling.logprobs else None,  # 0 is the sampled token's alone
        }

    def wake(self) -> None:
        """It never sleeps."""

    def sleep(self) -> None:
        """The server's memory is not the learner's."""

    def close(self) -> None:
        """The server loses the adapter; whole weights it keeps."""
        self.adapter.close()


def _support(top: Mapping[str, float]) -> list[int]:
    """What could be drawn at a place, of `token_id:N` -> logprob."""
    return sorted(int(token.removeprefix("token_id:")) for token, logprob in top.items() if logprob > NEVER)


def _fresh_folder(tensors: Mapping[str, torch.Tensor]) -> tempfile.TemporaryDirectory[str]:
    """In shared memory where that has the room, which a container's often has not; gone with this process at last."""
    size = sum(tensor.nbytes for tensor in tensors.values())
    fits = os.access(SHARED_MEMORY, os.W_OK) and shutil.disk_usage(SHARED_MEMORY).free > 1.1 * size
    return tempfile.TemporaryDirectory(prefix="polymath-", dir=SHARED_MEMORY if fits else None)


def _save(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
