"""Judges that are not the policy: each is asked rows, and puts what it says into them as `sample`."""

import hashlib
import json
import os
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import torch

from polymath import models
from polymath.chat import Format
from polymath.chat.decode import Fault
from polymath.completion import Completion, read
from polymath.engine.opening import open_engine
from polymath.episodes import play_rows
from polymath.stage import StageJob
from rl.config import GrpoConfig
from rl.judge_config import ExternalJudge, FrozenJudge

Batch = dict[str, Any]
RETRIES = 4  # of one call, after a second, two, four, eight
BUSY = (408, 409, 425, 429, 500, 502, 503, 504)
REFUSED = (400, 413, 422)  # what may be about one request: too long, or not allowed there
MOST_BYTES, BYTES_A_TOKEN = 1 << 16, 64  # of an answer: what stands around it, and each token with its JSON


class FrozenModel:
    """A model of the run, in this process, with an engine of its own."""

    def __init__(self, config: FrozenJudge, stage: GrpoConfig, job: StageJob, form: Format) -> None:
        source = job.models[config.from_]
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.form, self.tokenizer = form, models.load_tokenizer(source)
        model = models.load_model(source, stage.dtype).to(device).eval()
        at_once = stage.completions_per_step()
        self.engine = open_engine(config, model, source, seed=job.seed, at_once=at_once, bf16=stage.bf16)
        self.engine.deliver(model)
        self.temperature = config.temperature

    def fits(self, row: Batch) -> bool:
        """See `Judge`."""
        return fits(row, self.tokenizer, self.engine.max_length)

    def ask(self, rows: list[Batch]) -> None:
        """All rows at once; of equal ones each has a sample of its own, the same ones after a resume."""
        seen: Counter[str] = Counter()
        keys = []  # random numbers follow from these
        for row in rows:
            seen[row["prompt"]] += 1
            keys.append(f"judge/{hashlib.sha256(row['prompt'].encode()).hexdigest()[:16]}/{seen[row['prompt']]}")
        episodes = play_rows(rows, keys, self.engine, self.tokenizer, self.form, self.temperature)
        for row, episode in zip(rows, episodes, strict=True):
            row["sample"] = read(row, episode.turns, episode.turn_ids, self.tokenizer, self.form)


class _RefusedError(RuntimeError):
    """A request has no answer that can be used, and may be the only one that has none."""


class ExternalModel:
    """A model behind a URL. A call that fails for a while is made again; one that goes on failing ends the stage.

    So does one that is turned down, or whose answer is none, unless others are answered: then nothing is said of what
    it asked about.
    """

    def __init__(self, config: ExternalJudge) -> None:
        self.config = config
        key = os.environ.get(config.api_key_env, "").strip()
        if not (key.isascii() and key.isprintable()):  # httpx would tell it to whoever reads the log
            raise ValueError(
                f"judge.api_key_env: {config.api_key_env} holds what no key can, a line's end say: set it anew"
            )
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.client = httpx.Client(base_url=config.url, headers=headers, timeout=config.seconds)
        self.pool = ThreadPoolExecutor(config.at_once)
        self.has_answered = False

    def fits(self, row: Batch) -> bool:
        """Whoever answers knows his own limits, and says so."""
        return True

    def ask(self, rows: list[Batch]) -> None:
        """All rows, some at a time."""
        refusals: list[_RefusedError] = []
        for row, answer in zip(rows, self.pool.map(self._tried, rows), strict=True):
            if isinstance(answer, _RefusedError):
                refusals.append(answer)
                answer = _completion(row, "", "", (Fault(0, str(answer)),))
            row["sample"] = answer
        self.has_answered = self.has_answered or len(refusals) < len(rows)
        if refusals and not self.has_answered:
            raise RuntimeError(
                f"{refusals[0]}; it has answered nothing so far: does it speak as OpenAI does, and take prompts of "
                "this length with judge.max_completion_length tokens behind them?"
            )

    def _tried(self, row: Batch) -> Completion | _RefusedError:
        try:
            return self._answer(row)
        except _RefusedError as error:
            return error

    def _answer(self, row: Batch) -> Completion:
        config = self.config
        body = {
            "model": config.model,
            "messages": [{"role": "user", "content": row["asked"]}],
            "temperature": config.temperature,
            "max_tokens": config.max_completion_length,
        }
        text = self._called(body)
        try:
            choice = json.loads(text)["choices"][0]
            said = choice["message"]
            cut = (Fault(0, "it was cut off"),) if choice.get("finish_reason") == "length" else ()
            reasoning = _text(said.get("reasoning_content") or said.get("reasoning"))
            return _completion(row, _text(said["content"]), reasoning, cut)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise _RefusedError(f"judge.url {config.url}: no chat completion: {text[:300]!r}") from error

    def _called(self, body: dict[str, Any]) -> str:
        said = ""
        for attempt in range(RETRIES + 1):
            time.sleep(2.0 ** (attempt - 1) if attempt else 0.0)
            try:
                status, text = self._posted(body)
            except httpx.TransportError as error:
                said = f"{type(error).__name__}: {error}"
                continue
            except httpx.DecodingError as error:
                raise _RefusedError(f"judge.url {self.config.url}: its answer cannot be unpacked: {error}") from error
            if status < 300:
                return text
            said = f"{status}: {text[:300].strip()}"
            if status in REFUSED:
                raise _RefusedError(f"judge.url {self.config.url}: {said}")
            if status not in BUSY:
                break
        config = self.config
        raise RuntimeError(
            f"judge.url {config.url}: {said}; is it up, is judge.model {config.model!r} its name there, and does "
            f"{config.api_key_env} hold its key? The stage goes on from its last checkpoint with `polymath resume`"
        )

    def _posted(self, body: dict[str, Any]) -> tuple[int, str]:
        """Status and text of an answer, within the time and the size that one may have.

        httpx's own time is that of a read: who sends a byte now and then would be waited for without end.
        """
        until, most, read = time.monotonic() + self.config.seconds, MOST_BYTES, bytearray()
        most += BYTES_A_TOKEN * self.config.max_completion_length
        with self.client.stream("POST", "chat/completions", json=body) as answer:
            for part in answer.iter_bytes():
                read += part
                if time.monotonic() > until:
                    raise httpx.ReadTimeout(f"no whole answer within {self.config.seconds:g} s")
                if len(read) > most:
                    raise _RefusedError(f"judge.url {self.config.url}: an answer of more than {most} bytes")
        return answer.status_code, read.decode(errors="replace")


def _completion(row: Batch, content: str, reasoning: str, faults: tuple[Fault, ...]) -> Completion:
    turn = {"content": content, "reasoning": reasoning, "tool_calls": [], "faults": list(faults)}
    return Completion((turn,), row["reward"], row["answer"], prompt=row["prompt"])


def _text(content: Any) -> str:
    """A message's text, whether it is one or comes in parts."""
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "").encode(errors="replace").decode()  # a lone surrogate is no text


def fits(row: Batch, tokenizer: Any, longest: int | None) -> bool:
    """Whether a prompt leaves room for a whole verdict."""
    return longest is None or len(tokenizer.encode(row["prompt"], add_special_tokens=False)) + row["budget"] <= longest
