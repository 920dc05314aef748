"""What the stages of a run need, from their settings, their rows and their model's architecture.

It looks at the folders of the models that a run begins with, so these have to be there; no weights are loaded, and no
GPU is asked.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, PretrainedConfig

from distill.config import OpdConfig
from distill.divergence import ROOM
from distill.off_policy_config import OffPolicyConfig
from polymath import data, models
from polymath.chat import Format, format_for
from polymath.domains import held_out_tasks
from polymath.engine.keys import MOST_ON_CPU, bytes_of_keys, room_for_keys
from polymath.eval_config import EvalConfig
from polymath.planning import memory
from polymath.planning.counting import MicroBatch, Training, trace
from polymath.planning.memory import (
    HeadShape,
    Learner,
    Parts,
    fullest,
    fused_logits,
    fused_logits_on_gpu,
    learning,
    reading,
)
from polymath.planning.need import Lengths, Machine, Need
from polymath.stage import LoraConfig, RolloutConfig, StageJob, TrainingConfig, origin
from polymath.targets import hands_on_adapter
from polymath.training import adapter_config, draw_rows
from rl.config import GrpoConfig
from rl.judge_config import FrozenJudge

SAMPLED_ROWS = 256  # of a stage, by which its lengths are told
CHECKPOINTS = 2  # that are on the disk at a time
ROWS_OF_LOGITS = 4  # float32: as they come, by temperature, their logarithms and their probabilities


def needs(jobs: Sequence[StageJob], machine: Machine, lengths: Lengths, only: str = "") -> list[Need]:
    """Of each stage that trains or samples, in their order; of one alone where it is named."""
    known = {job.name: job for job in jobs}
    chosen = [job for job in jobs if isinstance(job.config, TrainingConfig | EvalConfig) and only in ("", job.name)]
    return [_Stage(job, known, machine, lengths).need() for job in chosen]


_TRACED: dict[Any, Learner] = {}
_ROWS: dict[Any, list[tuple[int, int]]] = {}
_tokenizer = cache(models.load_tokenizer)


def _traced(folder: Path, training: Training, batch: MicroBatch | None) -> Learner:
    key = (folder, str(training), batch)
    if key not in _TRACED:
        _TRACED[key] = trace(AutoConfig.from_pretrained(folder), training, batch)
    return _TRACED[key]


@dataclass
class _Stage:
    """One stage that trains or scores, seen from outside."""

    job: StageJob
    known: Mapping[str, StageJob]
    machine: Machine
    lengths: Lengths

    @property
    def config(self) -> Any:
        return self.job.config

    def need(self) -> Need:
        moment, parts = fullest(dict(self._moments()))
        runtime = memory.RUNTIME["cuda" if self.machine.on_gpu else "cpu"]
        return Need(self.job.name, self.config.kind, moment, {"runtime": runtime} | parts, self._disk(), self._tokens())

    def _moments(self) -> Iterator[tuple[str, Parts]]:
        config, learner = self.config, self.learner
        if isinstance(config, EvalConfig):
            yield "sampling", {"weights": learner.weights} | self._engine()
            return
        beside = self._others() | (self._engine(trains=True) if isinstance(config, RolloutConfig) else {})
        head = self._head().gradient() if self.machine.on_gpu else 0
        for name, parts in learning(learner, self._logits(), accumulates=self._accumulates(), head=head).items():
            yield name, parts | beside
        if isinstance(config, RolloutConfig):
            yield "sampling", reading(learner, self._others() | self._engine())
        if isinstance(config, OffPolicyConfig):
            largest = max(self._whole(name).parameters for name in config.teacher_models.values())
            yield "sampling", reading(learner, {"teachers": 4 * largest} | self._engine())
        if teachers := self._teachers():
            kept = sorted((own.read_only(self._itemsize()) for own in teachers), reverse=True)
            # On a GPU the one that scores, and the next one, which comes meanwhile
            there = sum(kept[:2] if self.machine.on_gpu else kept)
            # each comes to the GPU whole, in the type that it is loaded in, before its place is in the host's memory
            loaded = max(own.weights for own in teachers) if self.machine.on_gpu else there
            others = {"teachers": loaded} | self._engine()
            yield "loading", {"weights": learner.weights, "adapter": learner.adapter} | others
            yield (
                "scoring",
                reading(
                    learner,
                    beside | {"teachers": there},
                    learner.inference(self.architecture.get_text_config().num_hidden_layers),
                ),
            )

    # ... the model

    @cached_property
    def folder(self) -> Path:
        """The model that this stage's weights come from in the end, which is there before anything trains."""
        name = self.config.models[0] if isinstance(self.config, EvalConfig) else self.config.from_
        return models.base_of(origin(self.known[name], self.known).files.model)

    @cached_property
    def architecture(self) -> PretrainedConfig:
        return AutoConfig.from_pretrained(self.folder)

    @cached_property
    def learner(self) -> Learner:
        lora, dtype = self._lora(), getattr(self.config, "dtype", "float32")
        quantized = lora is not None and lora.load_in_4bit
        training = Training(
            dtype=getattr(torch, dtype),
            lora=adapter_config(lora) if lora else None,
            bf16=self.config.bf16,
            checkpointing=getattr(self.config, "gradient_checkpointing", False),
            on_gpu=self.machine.on_gpu,
            four_bits=quantized,
        )
        batch = None if isinstance(self.config, EvalConfig) else self._batch()
        traced = _traced(self.folder, training, batch)
        return traced.in_four_bits() if quantized else traced

    def _batch(self) -> MicroBatch:
        return MicroBatch(
            *self._micro_batch(), packed=isinstance(self.config, RolloutConfig), accumulates=self._accumulates()
        )

    def _lora(self) -> LoraConfig | None:
        return getattr(self.config, "lora", None)

    def _itemsize(self) -> int:
        return 2 if self.config.bf16 else 4

    # ... its rows

    @cached_property
    def rows(self) -> list[tuple[int, int]]:
        """Tokens of the prompt, and of what follows it: a demonstration, or the most that is sampled."""
        key = (self.folder, str(self.job))
        if key not in _ROWS:
            _ROWS[key] = self._tokenized()
        return _ROWS[key]

    def _tokenized(self) -> list[tuple[int, int]]:
        tokenizer = _tokenizer(self.folder)
        form = format_for(self.job.chat, tokenizer)
        drawn = self._drawn(form)
        texts = [row.prompt for row in drawn]
        prompts = [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
        if isinstance(self.config, RolloutConfig | EvalConfig):
            return [(prompt, row.budget) for prompt, row in zip(prompts, drawn, strict=True)]
        shown = data.demonstration_dataset(drawn, tokenizer)["input_ids"]
        return [(prompt, len(ids) - prompt) for prompt, ids in zip(prompts, shown, strict=True)]

    def _drawn(self, form: Format) -> list[data.Row]:
        if not isinstance(self.config, EvalConfig):
            return draw_rows(self.job, form, min(SAMPLED_ROWS, self.config.row_count()))
        rows = []
        for name in self.config.domains:
            domain = self.job.domains[name]
            tasks = held_out_tasks(domain, min(SAMPLED_ROWS, self.config.num_prompts), self.job.seed)
            rows += data.held_out_rows(name, domain, tasks, self.job.modes, form)
        return rows

    def _micro_batch(self) -> tuple[int, int]:
        """Rows and their length."""
        if isinstance(self.config, RolloutConfig):
            written = {"least": lambda most: 1, "most": lambda most: most}[self.lengths]
            longest = max(prompt + written(budget) for prompt, budget in self.rows)
            longest = min(longest, self.config.vllm_max_model_length or longest)
        else:
            longest = min(self.config.max_length, max(map(sum, self.rows)))
        return self.config.per_device_train_batch_size, longest

    def _accumulates(self) -> bool:
        return getattr(self.config, "gradient_accumulation_steps", 1) > 1

    def _tokens(self) -> int:
        if isinstance(self.config, EvalConfig):
            return 0
        mean = sum(map(sum, self.rows)) / len(self.rows)
        steps = self.config.max_steps * self.config.per_device_train_batch_size
        return int(mean * steps * self.config.gradient_accumulation_steps * self.config.processes())

    # ... what lies beside it

    def _head(self) -> HeadShape:
        text, kept = self.architecture.get_text_config(), getattr(torch, self.config.dtype).itemsize
        trains = self.config.lora is None
        return HeadShape(text.vocab_size, text.hidden_size, min(self._itemsize(), kept), kept, trains)

    def _logits(self) -> int:
        """What the loss takes: logits, heads in the type of products where they are not kept in it, and gradients."""
        head, (rows, length) = self._head(), self._micro_batch()
        copy = head.size(head.product) if head.product < head.kept else 0
        if isinstance(self.config, OpdConfig):
            room = ROOM["cuda" if self.machine.on_gpu else "cpu"]
            logits = min(room, 2 * head.product * rows * length * head.vocabulary)
            # A teacher's lies beside the student's; tied to an embedding it came in the embedding's type
            tied = self.architecture.get_text_config().tie_word_embeddings
            theirs = head.size(head.kept) + copy if tied else head.size(head.product)
            learned = head.size(4) + head.size(head.product) if head.trains else 0
            return logits + copy + theirs + learned
        if self.machine.on_gpu:
            return fused_logits_on_gpu(self._scored(), head)
        return fused_logits(rows * length, head.vocabulary) + copy

    def _scored(self) -> int:
        """Tokens of a micro-batch whose likelihood is learned: not those of prompts."""
        rows, length = self._micro_batch()
        return rows * min(length, max(written for _, written in self.rows))

    def _others(self) -> Parts:
        """Models that are there besides, for as long as the stage runs."""
        if not isinstance(self.config, GrpoConfig):
            return {}
        reference = self.learner.weights if self.config.beta and self.config.lora is None else 0
        judge = self.learner.parameters * 4 if isinstance(self.config.judge, FrozenJudge) else 0
        return {"reference": reference, "judge": judge}

    def _teachers(self) -> list[Learner]:
        """Those that are models of their own, and what extrapolated ones began as, where that is another than these."""
        if not isinstance(self.config, OpdConfig):
            return []
        names = {*self.config.teacher_models.values()}
        names |= {self.config.from_} if self.config.extrapolation != 1 else set()
        return [self._whole(name) for name in sorted(names) if not (self.config.lora and self._shares_base(name))]

    def _whole(self, name: str) -> Learner:
        """The model that a stage hands on, or that its adapter sits on, as it is when nothing trains it."""
        folder = models.base_of(origin(self.known[name], self.known).files.model)
        if folder == self.folder:
            return self.learner
        dtype = getattr(torch, getattr(self.config, "dtype", "float32"))
        alone = Training(dtype, None, self.config.bf16, checkpointing=False, on_gpu=self.machine.on_gpu)
        return _traced(folder, alone, None)

    def _shares_base(self, name: str) -> bool:
        """Whether it is an adapter, or the model itself that this stage's adapter sits on."""
        job = self.known[name]
        return hands_on_adapter(job, self.known) or job.files.model.resolve() == self.folder

    def _engine(self, *, trains: bool = False) -> Parts:
        """What samples: vLLM's copy of the weights and its keys, or the keys of the learner's own forward."""
        config, itemsize, at_once = self.config, self._itemsize(), _at_once(self.config)
        if config.use_vllm and config.vllm_mode == "server":
            return {}
        if not config.use_vllm:
            return {} if trains else self._own_keys(at_once)
        if trains and config.vllm_enable_sleep_mode:
            return {"vllm": memory.GRAPHS}
        weights = self.learner.parameters * itemsize
        allowed = MOST_ON_CPU
        if self.machine.on_gpu:
            allowed = int(config.vllm_gpu_memory_utilization * (self.machine.memory or 0)) - weights
        keys = room_for_keys(self.architecture, at_once, config.vllm_max_model_length, itemsize, allowed)
        graphs = memory.GRAPHS if self.machine.on_gpu else 0
        return {"vllm": weights + graphs, "keys": max(0, allowed) if keys is None else keys}

    def _own_keys(self, at_once: int) -> Parts:
        """Of the model's own forward, token by token: its keys, and a row of logits for each completion."""
        budget = max(mode.max_completion_length for mode in self.job.modes.values())
        prompt = max(prompt for prompt, _ in self.rows)
        keys = bytes_of_keys(self.architecture, at_once * (prompt + budget), self._itemsize()) or 0
        return {"keys": keys, "logits": ROWS_OF_LOGITS * 4 * at_once * self.architecture.get_text_config().vocab_size}

    def _disk(self) -> int:
        """The model, and while it trains checkpoints with the optimizer's state."""
        if isinstance(self.config, EvalConfig):
            return 0
        model = self.learner.adapter or self.learner.weights
        return model + CHECKPOINTS * (model + 2 * self.learner.trained)


def _at_once(config: Any) -> int:
    """Completions that are sampled side by side."""
    if isinstance(config, EvalConfig):
        return config.batch_size
    return config.completions_per_step() if isinstance(config, RolloutConfig) else config.generation_batch_size
