"""The engine without vLLM: transformers' forward on the policy itself, so that there is nothing to deliver.

    u(key, t) = a uniform number that depends on the request's key and the token's place alone
    token t   = the inverse of the cumulative distribution at u(key, t)

What a request samples depends neither on its neighbours in the batch nor on what was sampled before: one that is
continued from some of its tokens goes on as it would have.
"""

import hashlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

from polymath.engine.protocol import WATCH_SECONDS, Request, Sample, Watch

GHOSTS = 0.25  # rows that are complete leave the cache once they are so large a share of it


class LocalEngine:
    """Samples with the policy's own forward, `batch_size` requests at a time."""

    shares_weights = True
    can_sleep = False

    def __init__(self, policy: Any, *, seed: int, batch_size: int = 512, bf16: bool = False) -> None:
        self.seed, self.batch_size, self.bf16 = seed, batch_size, bf16
        self.deliver(policy)

    def deliver(self, policy: Any) -> None:
        """Only a reference: the weights are the learner's own."""
        self.policy = policy
        self.max_length = int(policy.config.max_position_embeddings)

    def difference(self, policy: Any) -> str:
        """See `Engine.difference`; there is one set of weights."""
        return ""

    def wake(self) -> None:
        """It never sleeps."""

    def sleep(self) -> None:
        """There is nothing to give back."""

    def close(self) -> None:
        """There is nothing to let go of."""

    @torch.inference_mode()
    def generate(self, requests: Sequence[Request], watch: Watch | None = None) -> list[Sample]:
        """See `Engine.generate`."""
        samples = [Sample(kept=[] if request.sampling.keeps() else None) for request in requests]
        training = self.policy.training
        self.policy.eval()
        try:
            for start in range(0, len(requests), self.batch_size):
                places = list(range(start, min(start + self.batch_size, len(requests))))
                with torch.autocast(self.policy.device.type, dtype=torch.bfloat16, enabled=self.bf16):
                    self._fill(places, requests, samples, watch)
        finally:
            self.policy.train(training)
        return samples

    def _fill(self, places: list[int], requests: Sequence[Request], samples: list[Sample], watch: Watch | None) -> None:
        """Write the samples of some requests, a token of each at a time."""
        batch = _Batch(self.policy, [requests[place] for place in places], self.seed)
        rows, open_places, untold, told = list(places), set(places), set(places), time.monotonic()
        while open_places:
            for place, drawn in zip(rows, batch.step(), strict=True):
                if place in open_places:
                    samples[place].extend(drawn)
                    if _is_complete(samples[place], requests[place]):
                        open_places.remove(place)
            if watch and time.monotonic() - told > WATCH_SECONDS:
                watch([(place, samples[place], place not in open_places) for place in untold])
                untold, told = set(open_places), time.monotonic()
            if len(open_places) <= (1 - GHOSTS) * len(rows):
                keep = [row for row, place in enumerate(rows) if place in open_places]
                rows = [rows[row] for row in keep]
                batch.select(keep)


def _is_complete(sample: Sample, request: Request) -> bool:
    return len(sample.ids) >= request.sampling.max_tokens or sample.ids[-1] in request.sampling.stop_token_ids


class _Batch:
    """The tensors of requests that are sampled together: B rows, of T tokens so far; at first a row for each prompt."""

    def __init__(self, policy: Any, requests: Sequence[Request], seed: int) -> None:
        self.policy = policy
        device = policy.device
        prompts = {tuple(request.prompt_ids): None for request in requests}  # each is read once
        row_of = {prompt: row for row, prompt in enumerate(prompts)}
        self.prompt_B = torch.tensor([row_of[tuple(request.prompt_ids)] for request in requests], device=device)
        width = max(map(len, prompts))
        pads = [width - len(prompt) for prompt in prompts]
        self.ids = torch.tensor([[0] * pad + [*own] for pad, own in zip(pads, prompts, strict=True)], device=device)
        self.mask_BT = torch.tensor([[0] * pad + [1] * (width - pad) for pad in pads], device=device)
        self.positions = (self.mask_BT.cumsum(1) - 1).clamp(min=0)
        self.uniforms_BT = torch.from_numpy(_uniforms(requests, seed)).to(device)
        sampling = [request.sampling for request in requests]
        self.temperature_B = torch.tensor([own.temperature for own in sampling], device=device)
        self.top_p_B = torch.tensor([own.top_p for own in sampling], device=device)
        self.top_k_B = torch.tensor([own.top_k for own in sampling], device=device)
        self.sampling, self.truncates = sampling, any(own.truncates() for own in sampling)
        self.cache, self.written = DynamicCache(config=policy.config), 0

    def step(self) -> list[Sample]:
        """Draw the next token of each row."""
        out = self.policy(
            input_ids=self.ids,
            attention_mask=self.mask_BT,
            position_ids=self.positions,
            past_key_values=self.cache,
            logits_to_keep=1,
        )
        logits_BV = out.logits[:, -1].float()
        if self.written == 0:  # from here on, each request has a row of its own
            self.cache.batch_select_indices(self.prompt_B)
            self.mask_BT, self.positions = self.mask_BT[self.prompt_B], self.positions[self.prompt_B]
            logits_BV = logits_BV[self.prompt_B]
        scaled_BV = logits_BV / self.temperature_B.where(self.temperature_B > 0, 1.0)[:, None]
        kept: list[Any] = [None] * len(scaled_BV)
        if self.truncates:
            scaled_BV = truncated(scaled_BV, self.top_p_B, self.top_k_B)
            kept = [
                [row.isfinite().nonzero()[:, 0].tolist()] if own.keeps() else None
                for row, own in zip(scaled_BV, self.sampling, strict=True)
            ]
        logprobs_BV = scaled_BV.log_softmax(-1)
        drawn_B = inverse_cdf(logprobs_BV.exp(), self.uniforms_BT[:, self.written])
        drawn_B = drawn_B.where(self.temperature_B > 0, logprobs_BV.argmax(-1))
        self._append(drawn_B)
        logprobs_B = logprobs_BV.gather(1, drawn_B[:, None])[:, 0]
        drawn = zip(self.sampling, drawn_B.tolist(), logprobs_B.tolist(), kept, strict=True)
        return [Sample([token], [logprob] if own.logprobs else [], support) for own, token, logprob, support in drawn]

    def _append(self, drawn_B: torch.Tensor) -> None:
        self.ids = drawn_B[:, None]
        self.mask_BT = torch.cat([self.mask_BT, self.mask_BT.new_ones(len(drawn_B), 1)], dim=1)
        self.positions = self.positions[:, -1:] + 1
        self.written += 1

    def select(self, rows: list[int]) -> None:
        """Go on with these rows alone."""
        if not rows:
            return
        keep = torch.tensor(rows, device=self.ids.device)
        self.sampling = [self.sampling[row] for row in rows]
        for name in ("ids", "mask_BT", "positions", "uniforms_BT", "temperature_B", "top_p_B", "top_k_B"):
            setattr(self, name, getattr(self, name)[keep])
        self.cache.batch_select_indices(keep)


def _uniforms(requests: Sequence[Request], seed: int) -> np.ndarray:
    """`[B, T]` numbers in [0, 1): of each request's own stream, from the place where it goes on."""
    numbers = np.zeros((len(requests), max(request.sampling.max_tokens for request in requests)))
    for row, request in enumerate(requests):
        digest = hashlib.sha256(f"{seed}/{request.key}".encode()).digest()
        stream = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
        own = stream.random(request.written + request.sampling.max_tokens)[request.written :]
        numbers[row, : len(own)] = own
    return numbers


def inverse_cdf(probabilities_BV: torch.Tensor, uniforms_B: torch.Tensor) -> torch.Tensor:
    """The token of each row where the cumulative probability passes its uniform number; never one of probability 0."""
    cumulative_BV = probabilities_BV.double().cumsum(-1)
    targets_B = uniforms_B * cumulative_BV[:, -1]
    last_B = cumulative_BV.shape[1] - 1 - (probabilities_BV.flip(-1) > 0).int().argmax(-1)
    return torch.searchsorted(cumulative_BV, targets_B[:, None], right=True)[:, 0].minimum(last_B)


def truncated(logits_BV: torch.Tensor, top_p_B: torch.Tensor, top_k_B: torch.Tensor) -> torch.Tensor:
    """-inf outside of each row's support: the `top_k` likeliest (0: all), and of those the fewest that hold `top_p`."""
    ordered_BV, order_BV = logits_BV.sort(dim=-1, descending=True)
    rank_V = torch.arange(logits_BV.shape[1], device=logits_BV.device)
    top_k_B = top_k_B.where(top_k_B > 0, logits_BV.shape[1])
    ordered_BV = ordered_BV.masked_fill(rank_V >= top_k_B[:, None], -torch.inf)
    before_BV = ordered_BV.softmax(-1).cumsum(-1) - ordered_BV.softmax(-1)
    # sums of rounded numbers may reach 1 before the last token: a `top_p` of 1 cuts nothing
    beyond_BV = (before_BV >= top_p_B[:, None]) & (top_p_B < 1)[:, None]
    ordered_BV = ordered_BV.masked_fill(beyond_BV, -torch.inf)
    return torch.empty_like(logits_BV).scatter_(1, order_BV, ordered_BV)
