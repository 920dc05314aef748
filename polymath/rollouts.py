"""What TRL's two on-policy trainers need besides: an engine of ours, and modes, budgets and episodes, row by row."""

import time
from collections import defaultdict
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, cast

import torch
from accelerate.utils import gather_object
from transformers import PreTrainedTokenizerBase
from trl.trainer.utils import RepeatSampler

from polymath.chat import Format
from polymath.completion import read
from polymath.engine.proof import Bound, DeliveryError, check_arrival, mean_gap, probed
from polymath.engine.protocol import Engine, Request, Sample, Sampling
from polymath.engine.wal import LoggedEngine, TokenLog, step_of
from polymath.episodes import Episode, begun, play
from polymath.packed import compile_layers, leave_types_to_autocast, use_packed_attention
from polymath.run_dir import StageDir, read_lines

Batch = dict[str, Any]
TOOL_MASK = 2  # its place in what both trainers' `_generate` returns


class EpochSampler(RepeatSampler):
    """TRL's sampler with an order that depends on the epoch alone, and that leaves a prompt's modes together.

    The stock one draws each epoch's order from a generator that a checkpoint does not hold, so that a run resumed in
    its second epoch repeats the first one's order.
    """

    block = 1  # rows of one task

    @classmethod
    def like(cls, sampler: RepeatSampler, block: int) -> "EpochSampler":
        """A sampler with the same settings, which shuffles blocks of rows."""
        names = ("data_source", "mini_repeat_count", "batch_size", "repeat_count", "shuffle", "seed")
        own = cls(**{name: getattr(sampler, name) for name in names})
        own.block = block
        return own

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate before each epoch."""
        if self.shuffle:
            self.generator.manual_seed((self.seed or 0) + 1_000_003 * epoch)

    def __iter__(self) -> Generator[int, Any, None]:
        blocks = self.num_samples // self.block
        order = torch.randperm(blocks, generator=self.generator).tolist() if self.shuffle else range(blocks)
        indexes = [block * self.block + place for block in order for place in range(self.block)]
        for start in range(0, len(indexes) - self.batch_size + 1, self.batch_size):
            for _ in range(self.repeat_count):
                for index in indexes[start : start + self.batch_size]:
                    yield from [index] * self.mini_repeat_count


class _Written(NamedTuple):
    """What is noted of an episode."""

    mode: str
    tokens: int
    is_truncated: bool
    turns: int


def without_logprobs(request: Request) -> Request:
    """The same, of which the tokens alone are wanted."""
    return replace(request, sampling=replace(request.sampling, logprobs=False))


class RolloutMixin:
    """Stands in front of either trainer in the order of classes.

    A batch is a list of rows; each is sampled as an episode, in its own mode, within its own budget. What the model
    wrote is put into the row as `sample`, a `Completion`, where the rewards find it.
    """

    reads_logprobs = True  # those of the sampler: or they are asked for where they are proof

    def __init__(
        self,
        *,
        form: Format,
        folder: StageDir,
        engine_for: Callable[[Any], Engine],
        sampling: Sampling,
        modes_per_task: int = 1,
        torch_compile: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.form, self.folder, self.sampling, self.modes_per_task = form, folder, sampling, modes_per_task
        policy = cast(Any, self).accelerator.unwrap_model(cast(Any, self).model)
        use_packed_attention(policy)
        if cast(Any, self).args.bf16:
            leave_types_to_autocast(policy)
        if torch_compile:
            compile_layers(policy)
        self.token_log = TokenLog(folder.tokens, policy.config.get_text_config().vocab_size)
        self.engine = LoggedEngine(engine_for(cast(Any, self).model), self.token_log)
        self._delivered_step = -1
        self._is_proven = False
        gaps = (line["sync/logprob_gap"] for line in read_lines(folder.metrics) if "sync/logprob_gap" in line)
        first_gap = next(gaps, None)  # of the stage, which a process before this one may have begun
        self._bound = None if first_gap is None else Bound.calibrated(first_gap, self._products())
        self._spent: defaultdict[str, float] = defaultdict(float)  # seconds of this step

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        # A row's prompt is complete: a tokenizer that adds a token of its own would change what SFT trained on
        return self._text_tokenizer()(text=list(prompts), add_special_tokens=False)["input_ids"], None, {}

    def _get_train_sampler(self, dataset: Any = None) -> EpochSampler:
        return EpochSampler.like(cast(Any, super())._get_train_sampler(dataset), self.modes_per_task)

    def _generate_and_score_completions(self, inputs: list[Batch]) -> Batch:
        self._spent.clear()
        self._deliver()
        self._rows, self._episodes = self._collect(inputs)
        self.engine.sleep()
        for name, seconds in self._spent.items():
            self._log(name, seconds)
        return cast(Any, super())._generate_and_score_completions(self._rows)

    def _collect(self, rows: list[Batch]) -> tuple[list[Batch], list[Episode]]:
        """The rows to train on, and what was sampled for each."""
        episodes = self._roll_out(rows, cast(Any, self).accelerator.process_index * len(rows))
        self._note(rows, episodes)
        return rows, episodes

    def _generate(self, prompts: list[str]) -> tuple[Any, ...]:
        out = cast(Any, super())._generate(prompts)
        assert out[TOOL_MASK] is None, "TRL's own tool loop ran besides ours"
        return (*out[:TOOL_MASK], [episode.mask for episode in self._episodes], *out[TOOL_MASK + 1 :])

    def _roll_out(self, rows: list[Batch], first_place: int, spent: str = "time/generate") -> list[Episode]:
        """Sample an episode for each row, and put what was written into the row; places name them in logs.

        `spent` names the time that it takes.
        """
        started = time.perf_counter()
        names = [f"{self._step_number()}/{first_place + index}" for index in range(len(rows))]
        tokenizer = self._text_tokenizer()
        episodes = begun(rows, names, tokenizer)
        play(episodes, self._sample, self.sampling, tokenizer, self.form, self.engine.max_length)
        for row, episode in zip(rows, episodes, strict=True):
            row["sample"] = read(row, episode.turns, episode.turn_ids, tokenizer, self.form, episode.name)
        self._spend(spent, started)
        return episodes

    def _sample(self, requests: list[Request]) -> list[Sample]:
        if not self.reads_logprobs:
            probes = () if self._is_proven else probed(len(requests))
            requests = [own if place in probes else without_logprobs(own) for place, own in enumerate(requests)]
        samples = self.engine.generate(requests)
        if not self._is_proven:
            self._prove(list(zip(requests, samples, strict=True)))
        return samples

    def _deliver(self) -> None:
        """Let the engine sample the policy of this step; it stays awake for everything that the step samples.

        What arrived is compared before anything is sampled with it: the log never holds a token of another policy.
        """
        if self._delivered_step == self._step_number():
            return
        started, model = time.perf_counter(), cast(Any, self).model
        self.engine.deliver(model)
        self._spend("time/sync", started)
        check_arrival(self.engine, model, f"at step {self._step_number()}")
        self._delivered_step, self._is_proven = self._step_number(), self.engine.shares_weights

    def _prove(self, sampled: list[tuple[Request, Sample]]) -> None:
        """Compare the sampler's word on a few tokens, of this process or of the log, with the learner's."""
        step = self._step_number()
        gap = mean_gap(cast(Any, self).model, sampled, bf16=cast(Any, self).args.bf16)
        self._log("sync/logprob_gap", gap)
        try:
            if self._bound is None:
                self._bound = Bound.calibrated(gap, self._products())
            self._bound.check(gap, step)
        except DeliveryError:
            self.token_log.forget(lambda key: step_of(key) >= step)  # or a resumed run would learn from them
            raise
        self._is_proven = True

    def _products(self) -> torch.dtype:
        """The type that the learner multiplies in."""
        return torch.bfloat16 if cast(Any, self).args.bf16 else torch.float32

    def _note(self, rows: list[Batch], episodes: list[Episode]) -> None:
        """Log what each mode writes, over all processes."""
        told = gather_object(
            [
                _Written(row["mode"], sum(episode.mask), episode.is_truncated, len(episode.turns))
                for row, episode in zip(rows, episodes, strict=True)
            ]
        )
        groups = {"": told} | {
            f"/{mode}": [own for own in told if own.mode == mode] for mode in sorted({own.mode for own in told})
        }
        for mode, own in groups.items():
            _, tokens, truncated, turns = zip(*own, strict=True)
            self._log(f"length{mode or '/mean'}", sum(tokens) / len(own))
            self._log(f"length/clipped_ratio{mode}", sum(truncated) / len(own))
            if mode:
                self._log(f"turns{mode}", sum(turns) / len(own))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Means are over what all processes have noted; each of them logs the same."""
        metrics = cast(Any, self)._metrics["train"]
        together: defaultdict[str, list[float]] = defaultdict(list)
        for own in gather_object([dict(metrics)]):
            for name, values in own.items():
                together[name] += values
        metrics.clear()
        metrics.update(together)
        cast(Any, super()).log(logs, start_time)

    def _log(self, name: str, value: float) -> None:
        cast(Any, self)._metrics["train"][name].append(value)

    def _log_all(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._log(name, value)

    def _spend(self, name: str, started: float) -> None:
        """Add to what a step spends on something: a mean over its parts is no measure of it."""
        self._spent[name] += time.perf_counter() - started

    def _step_number(self) -> int:
        return cast(Any, self).state.global_step + 1

    def _text_tokenizer(self) -> PreTrainedTokenizerBase:
        return cast(PreTrainedTokenizerBase, cast(Any, self).processing_class)
