"""A real vLLM server on the CPU: what it samples is the policy that was delivered, and what fails is said.

The model's head is its own, since vLLM leaves a tied one as it was when whole weights are reloaded on a CPU. What
vLLM's server imports need not be in the tests' environment: `POLYMATH_VLLM_PYTHON` names the Python of another one.
"""

import copy
import os
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from pydantic import ValidationError
from transformers import Qwen3Config, Qwen3ForCausalLM

from polymath.engine.config import EngineConfig
from polymath.engine.local import truncated
from polymath.engine.protocol import Request, Sample, Sampling
from polymath.engine.remote import LOAD, RELOAD, Server
from polymath.engine.server import ServerEngine
from polymath.engine.wal import LoggedEngine, TokenLog, log_key
from polymath.tiny import build_tokenizer

PYTHON = os.environ.get("POLYMATH_VLLM_PYTHON", sys.executable)
IMPORTED = "vllm", "watchfiles", "ijson", "prometheus_fastapi_instrumentator", "model_hosting_container_standards"
FINDS = f"import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, {IMPORTED})))"
ENVIRONMENT = {
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
    "VLLM_SERVER_DEV_MODE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine computes by itself: a worker of its own is waited for by spinning
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "KMP_BLOCKTIME": "1",
}
RANK, LENGTH, STOP = 8, 4096, 2  # long enough that a server ends before its answers do
ENDS_OF_LINES = "\u2028", "\u0085"  # for Python, not for a stream of messages
LOOSE = Sampling(80, (STOP, 9))
SIZES = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "head_dim": 64, "num_attention_heads": 2}


@dataclass
class Served:
    url: str
    process: subprocess.Popen[bytes]
    model: Any  # with the weights that the server has
    tokenizer: Any

    def engine(self) -> ServerEngine:
        return ServerEngine(config_of(self.url), RANK)

    def names(self) -> list[str]:
        return [card["id"] for card in Server(self.url, None).call("GET", "/v1/models")["data"]]


def config_of(url: str) -> EngineConfig:
    return EngineConfig(use_vllm=True, vllm_mode="server", vllm_server_base_url=url)


def free_port() -> int:
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return own.getsockname()[1]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    if subprocess.run([PYTHON, "-c", FINDS]).returncode:
        pytest.skip(f"{PYTHON} lacks one of {', '.join(IMPORTED)}")
    folder, port = tmp_path_factory.mktemp("served"), free_port()
    tokenizer = build_tokenizer(["look up the entry of Ada"], 400, ENDS_OF_LINES)
    torch.manual_seed(0)
    more = {"max_position_embeddings": LENGTH, "num_key_value_heads": 1, "initializer_range": 0.1}
    model = Qwen3ForCausalLM(Qwen3Config(vocab_size=len(tokenizer), tie_word_embeddings=False, **SIZES, **more)).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    command = [PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    command += ["--generation-config", "vllm", "--logprobs-mode", "processed_logprobs", "--enable-lora"]
    command += ["--max-lora-rank", str(RANK), "--enforce-eager", "--dtype", "float32", "--max-num-seqs", "16"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | ENVIRONMENT, stdout=log, stderr=log, start_new_session=True
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(url, process, folder / "log")
        yield Served(url, process, model, tokenizer)
    finally:
        end(process)


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    while True:
        try:
            return Server(url, None).wait(0)
        except RuntimeError:
            assert process.poll() is None, log.read_text()[-2000:]
            time.sleep(0.2)


def end(process: subprocess.Popen[bytes]) -> None:
    """The server, which has memory to give back, and whatever it leaves running."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(autouse=True)
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of /dev/shm, which others write to as well."""
    folder = tmp_path / "shared"
    folder.mkdir()
    monkeypatch.setattr("polymath.engine.server.SHARED_MEMORY", folder)
    return folder


def adapted(model: Any, rank: int = RANK, **settings: Any) -> Any:
    settings = {"r": rank, "lora_alpha": 16, "target_modules": "all-linear"} | settings
    return get_peft_model(copy.deepcopy(model), LoraConfig(**settings)).eval()


@torch.no_grad()
def move(policy: Any, seed: int) -> None:
    """Train it, so to speak."""
    torch.manual_seed(seed)
    for parameter in policy.parameters():
        if parameter.requires_grad:
            parameter.add_(torch.randn_like(parameter), alpha=0.1)


def requests_of(sampling: Sampling, length: int = 140) -> list[Request]:
    """Prompts so long that the server keeps what it prefilled: it does so with whole blocks of 128 tokens."""
    return [Request(str(own), [3 + (own + place * own) % 280 for place in range(length)], sampling) for own in range(8)]


@torch.no_grad()
def logits_of(policy: Any, request: Request, sample: Sample) -> torch.Tensor:
    logits = policy(torch.tensor([request.prompt_ids + sample.ids])).logits[0, len(request.prompt_ids) - 1 : -1]
    return logits.float() / (request.sampling.temperature or 1.0)


def gap(policy: Any, requests: Sequence[Request], samples: Sequence[Sample]) -> float:
    """The largest difference from the policy's own log-probabilities, in nats."""
    gaps = []
    for request, sample in zip(requests, samples, strict=True):
        logprobs = logits_of(policy, request, sample).log_softmax(-1).gather(1, torch.tensor(sample.ids)[:, None])
        gaps.append((logprobs[:, 0] - torch.tensor(sample.logprobs)).abs().max().item())
    return max(gaps)


def test_samples_are_the_policys_within_their_limits(served: Served) -> None:
    engine = served.engine()
    assert engine.max_length == LENGTH and not engine.shares_weights
    stops = (9,), (STOP, *range(9, 30))  # so many that some completion meets one
    requests = [
        Request(str(index), [5, 40 + index], Sampling(1 + 13 * index % 50, stops[index % 2], 0.25 * (index % 8)))
        for index in range(30)
    ]
    samples = engine.generate(requests)
    assert gap(served.model, requests, samples) < 1e-3
    for request, sample in zip(requests, samples, strict=True):
        budget, own_stops = request.sampling.max_tokens, request.sampling.stop_token_ids
        assert len(sample.ids) == budget or sample.ids[-1] in own_stops
        assert len(sample.ids) <= budget and not set(sample.ids[:-1]) & set(own_stops) and sample.kept is None
    assert any(len(own.ids) < request.sampling.max_tokens for request, own in zip(requests, samples, strict=True))
    assert engine.generate([]) == []


def test_what_ends_a_line_for_python_ends_no_message(served: Served) -> None:
    requests = requests_of(Sampling(700, (), 2.0))  # some 19 of each end are among 5,600 tokens
    samples = served.engine().generate(requests)
    written = "".join(served.tokenizer.decode(sample.ids) for sample in samples)
    assert all(end in written for end in ENDS_OF_LINES)
    assert all(len(sample.ids) == 700 for sample in samples) and gap(served.model, requests, samples) < 1e-3


def test_tokens_alone_are_the_same_tokens(served: Served) -> None:
    greedy = Sampling(20, (STOP,), 0.0)
    told, bare = (served.engine().generate(requests_of(replace(greedy, logprobs=own), 4)) for own in (True, False))
    assert bare == [Sample(own.ids) for own in told]


def test_watch_is_told_of_what_there_is(served: Served) -> None:
    told: list[tuple[int, list[int], bool]] = []
    many = LENGTH // 4  # more than a busy machine answers at one go
    samples = served.engine().generate(
        requests_of(Sampling(many, ()), 4),
        lambda news: told.extend((place, list(own.ids), done) for place, own, done in news),
    )
    assert all(len(sample.ids) == many for sample in samples)  # the model's own end of text is no stop token here
    assert any(ids and not done for _, ids, done in told)
    assert all(samples[place].ids[: len(ids)] == ids for place, ids, _ in told)
    assert all((samples[place].ids == ids) == done for place, ids, done in told)
    complete = [place for place, _, done in told if done]
    assert len(set(complete)) == len(complete)


def test_the_kept_support_is_known(served: Served) -> None:
    engine, requests = served.engine(), requests_of(Sampling(20, (STOP,), 0.8, top_p=0.6, top_k=6))
    supports: list[list[int]] = []
    for request, sample in zip(requests, engine.generate(requests), strict=True):
        cut = torch.tensor([0.6]), torch.tensor([6])
        logprobs = truncated(logits_of(served.model, request, sample), *cut).log_softmax(-1)
        assert sample.kept == [row.isfinite().nonzero()[:, 0].tolist() for row in logprobs]
        assert sample.logprobs == pytest.approx(logprobs.gather(1, torch.tensor(sample.ids)[:, None])[:, 0], abs=1e-3)
        supports += sample.kept or []
    assert 1 < sum(map(len, supports)) / len(supports) < 6
    with pytest.raises(RuntimeError, match=rf"{served.url}/v1/completions: .*64.*20.*--max-logprobs"):
        engine.generate(requests_of(Sampling(20, (STOP,), top_k=64)))


def test_an_adapter_goes_over_under_a_new_name(served: Served, shared: Path) -> None:
    engine, policy, requests = served.engine(), adapted(served.model), requests_of(LOOSE)
    seen, name = set(served.names()), ""
    for seed in range(2):
        old = copy.deepcopy(policy)
        move(policy, seed)
        engine.deliver(policy)
        samples = engine.generate(requests)
        assert gap(policy, requests, samples) < 1e-3 and gap(old, requests, samples) > 0.1
        _, name = served.names()  # the base and one adapter
        assert name not in seen and len(list(shared.iterdir())) == 1
        seen.add(name)
        assert engine.difference(policy) == ""
    engine._unload(name)
    assert engine.difference(policy) == f"the adapter {name}, which is not asked for or not there"
    engine.close()
    assert len(served.names()) == 1 and not list(shared.iterdir())


def test_refused_adapters_leave_the_old_one(served: Served) -> None:
    engine, policy = served.engine(), adapted(served.model)
    move(policy, 3)
    engine.deliver(policy)
    with pytest.raises(RuntimeError, match=rf"{served.url}{LOAD}: .*rank 32 is greater.*--max-lora-rank 8"):
        engine.deliver(adapted(served.model, 32))
    with pytest.raises(ValueError, match=r"lora.train_new_tokens.*vllm_mode: colocate"):
        engine.deliver(adapted(served.model, trainable_token_indices={"embed_tokens": [4, 5]}))
    assert gap(policy, requests_of(LOOSE), engine.generate(requests_of(LOOSE))) < 1e-3
    engine.close()


def test_without_shared_memory_files_are_temporary(
    served: Served, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared.rmdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    engine = served.engine()
    engine.deliver(adapted(served.model))
    assert len(list(tmp_path.glob("*/adapter_config.json"))) == 1
    engine.close()
    assert not list(tmp_path.iterdir())


def test_an_address_that_is_none_of_a_server_is_said(served: Served) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(RuntimeError, match=rf"{url}/health: ConnectError.*is the server up.*vllm_server_base_url"):
        ServerEngine(config_of(url), RANK, wait_seconds=0)
    with pytest.raises(RuntimeError, match=r"/v1/health: Not Found; .*without /v1"):
        ServerEngine(config_of(f"{served.url}/v1/"), RANK)
    with pytest.raises(ValidationError, match="vllm_server_base_url"):
        config_of("localhost:8000")
    without_the_routes = Server(f"{served.url}/none", 20)
    for route, remedy in ((LOAD, "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"), (RELOAD, "VLLM_SERVER_DEV_MODE=1")):
        with pytest.raises(RuntimeError, match=f"Not Found; .*{remedy}"):
            without_the_routes.call("POST", route, {})


def test_a_server_that_is_starting_is_waited_for_aloud(capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()

    class Healthy(BaseHTTPRequestHandler):
        """Says that it is up."""

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

    waiting = threading.Thread(target=Server(f"http://127.0.0.1:{port}", None).wait, args=(60,))
    waiting.start()
    while not (said := capsys.readouterr().err):
        assert waiting.is_alive()
        time.sleep(0.05)
    with HTTPServer(("127.0.0.1", port), Healthy) as server:
        server.handle_request()
        waiting.join(60)
    assert not waiting.is_alive()
    assert said == f"http://127.0.0.1:{port} does not answer yet; it is waited for, up to 60 s\n"


def test_whole_weights_are_reloaded(served: Served, shared: Path) -> None:
    engine, requests = ServerEngine(config_of(served.url), None), requests_of(LOOSE)
    old = copy.deepcopy(served.model)
    engine.generate(requests)  # what is kept of the prompts is the old weights'
    move(served.model, 4)
    engine.deliver(served.model)
    samples = engine.generate(requests)
    assert gap(served.model, requests, samples) < 1e-3 and gap(old, requests, samples) > 0.1
    assert not list(shared.iterdir())


def a_log_is_kept(served: Served, engine: ServerEngine, log: TokenLog, said: str) -> None:
    """Sampling fails, and what came before is in the log as the policy's."""
    requests = requests_of(Sampling(LENGTH - 100, ()), 4)
    with pytest.raises(RuntimeError, match=said):
        LoggedEngine(engine, log).generate(requests)
    logged = TokenLog(log.path).samples
    begun = [request for request in requests if logged[log_key(request)].ids]
    samples = [logged[log_key(request)] for request in begun]
    assert begun and any(len(sample.ids) < LENGTH - 100 for sample in samples)
    assert gap(served.model, begun, samples) < 1e-3


def test_a_connection_that_breaks_ends_the_run_but_not_the_log(served: Served, tmp_path: Path) -> None:
    class Cut(socketserver.BaseRequestHandler):
        """Passes on no more than the first bytes of an answer."""

        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2]))) as server:
                threading.Thread(target=pass_on, args=(self.request, server, 1000), daemon=True).start()
                pass_on(server, self.request, 8)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Cut) as cut:
        cut.daemon_threads, cut.block_on_close = True, False  # one may wait for an answer that was cancelled
        threading.Thread(target=cut.serve_forever, daemon=True).start()
        engine = ServerEngine(config_of(f"http://127.0.0.1:{cut.server_address[1]}"), RANK)
        a_log_is_kept(served, engine, TokenLog(tmp_path / "log"), "/v1/completions: RemoteProtocolError: .*incomplete")
        cut.shutdown()


def pass_on(source: socket.socket, sink: socket.socket, parts: int) -> None:
    with suppress(OSError):
        for _ in range(parts):
            sink.sendall(source.recv(1000))


class Deadly(TokenLog):
    """Ends the server once it has tokens of requests that are not complete."""

    process: subprocess.Popen[bytes]

    def append(self, told: Sequence[tuple[str, Sample, bool]]) -> None:
        super().append(told)
        if any(sample.ids and not done for _, sample, done in told):
            self.process.terminate()


def test_a_server_that_ends_ends_the_run_but_not_the_log(  # the last test
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polymath.engine.server.QUIET_SECONDS", 0.5)
    log = Deadly(tmp_path / "log")
    log.process = served.process
    a_log_is_kept(served, served.engine(), log, rf"{served.url}/(health|v1/completions): ")
    with suppress(subprocess.TimeoutExpired):  # a slow end of vLLM's is none of ours
        served.process.wait(30)  # asked a second time, it would not clean up
