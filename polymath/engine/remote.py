"""Calls of a vLLM server, and errors that say what it said and what to do."""

import json
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx

from polymath.engine.config import RANKS

CALL_SECONDS = 600.0  # for a delivery
COMPLETIONS, LOAD, UNLOAD = "/v1/completions", "/v1/load_lora_adapter", "/v1/unload_lora_adapter"
RELOAD, RESET = "/collective_rpc", "/reset_prefix_cache"
ADDRESS = "is the server up, and is vllm_server_base_url right: http://host:port, without /v1?"
# What to do where the address has the first part, and the answer the second
REMEDIES = (
    (LOAD, "max_lora_rank", "start the server with --max-lora-rank {room}"),
    (LOAD, "LoRA is not enabled", "start the server with --enable-lora --max-lora-rank {room}"),
    (LOAD, "No adapter found", "the server has to see the learner's folder: one machine, and one /dev/shm"),
    (LOAD, "Not Found", "start the server with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True in its environment"),
    (RELOAD, "Not Found", "start the server with VLLM_SERVER_DEV_MODE=1 in its environment"),
    (RELOAD, "", "start the server anew, with the model that is trained, where it sees the learner's /dev/shm"),
    (COMPLETIONS, "sample logprobs", "start the server with --max-logprobs TOP_K, or lower top_k"),
    (
        COMPLETIONS,
        "does not exist",
        "was the server started anew? Has it more than one process (--api-server-count 1)?",
    ),
    ("/health", "", ADDRESS),
    ("", "Connect", ADDRESS),
)


@dataclass(frozen=True)
class Server:
    """A server at a URL, which is given adapters of a rank."""

    url: str
    lora_rank: int | None

    def error(self, path: str, said: str) -> RuntimeError:
        """What was called, what came of it, and the remedy."""
        room = next((own for own in RANKS if own >= (self.lora_rank or 0)), RANKS[-1])
        remedies = [remedy for place, part, remedy in REMEDIES if place in path and part in said]
        remedy = remedies[0] if remedies else "the server's own log has more"
        return RuntimeError(f"{self.url}{path}: {said[:300].strip()}; {remedy.format(room=room)}")

    def call(self, method: str, path: str, body: Any = None, seconds: float = CALL_SECONDS) -> Any:
        """The answer's JSON, if it is that; RuntimeError where the server refuses or is not there."""
        try:  # past every proxy: the server is beside the learner
            answer = httpx.request(method, self.url + path, json=body, timeout=seconds, trust_env=False)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self.error(path, f"{type(error).__name__}: {error}") from error
        if not answer.is_success:
            raise self.error(path, said_by(answer.text))
        return answer.json() if answer.headers.get("content-type", "").startswith("application/json") else None

    def wait(self, seconds: float) -> None:
        """Until it is up; RuntimeError where it is not by then, or where something else answers."""
        deadline, was_told = time.monotonic() + seconds, False
        while True:
            try:
                self.call("GET", "/health", seconds=5.0)
                return
            except RuntimeError as error:
                may_be_starting = isinstance(error.__cause__, httpx.ConnectError | httpx.TimeoutException)
                if not may_be_starting or time.monotonic() > deadline:
                    raise
            if not was_told:
                sys.stderr.write(f"{self.url} does not answer yet; it is waited for, up to {seconds:.0f} s\n")
                was_told = True
            time.sleep(1.0)


def said_by(text: str) -> str:
    """What the server said, out of its JSON."""
    try:
        answer = json.loads(text)
        return str(answer["error"]["message"] if "error" in answer else answer["detail"])
    except (ValueError, KeyError, TypeError):
        return text


async def messages(answer: httpx.Response) -> AsyncIterator[bytes]:
    """The JSON of each message of a stream.

    Lines end at line feeds alone: httpx's own also end at U+2028 and U+0085, which a sampled text may hold as it is.
    """
    rest = b""
    async for part in answer.aiter_bytes():
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            if line.startswith(b"data: {"):
                yield line.removeprefix(b"data: ")
