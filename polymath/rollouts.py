"""What TRL's two on-policy trainers need besides: modes, budgets and episodes, sample by sample."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from transformers import PreTrainedTokenizerBase
from trl.trainer.utils import RepeatSampler

from polymath.chat import Format
from polymath.completion import read
from polymath.episodes import Episode, play

Batch = dict[str, Any]
TOOL_MASK = 2  # its place in what both trainers' `_generate` returns


class EpochSampler(RepeatSampler):
    """TRL's sampler with an order that depends on the epoch alone.

    The stock one draws each epoch's order from a generator that a checkpoint does not hold, so that a run resumed in
    its second epoch repeats the first one's order.
    """

    @classmethod
    def like(cls, sampler: RepeatSampler) -> "EpochSampler":
        """A sampler with the same settings."""
        names = ("data_source", "mini_repeat_count", "batch_size", "repeat_count", "shuffle", "seed")
        return cls(**{name: getattr(sampler, name) for name in names})

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate before each epoch."""
        if self.shuffle:
            self.generator.manual_seed((self.seed or 0) + 1_000_003 * epoch)


def merged_parameters(named: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """A merged adapter's parameters as vLLM names them: PEFT's layer for trained tokens leaves traces in the names."""
    for name, parameter in named:
        if "trainable_tokens" not in name:
            yield name.replace(".token_adapter", ""), parameter


class RolloutMixin:
    """Stands in front of either trainer in the order of classes.

    A batch is a list of rows; each is sampled as an episode, in its own mode, within its own budget. What the model
    wrote is put into the row as `sample`, a `Completion`, where the rewards find it.
    """

    _gives_logprobs = False  # whether the trainer's `_generate_single_turn` returns log-probabilities

    def __init__(self, *, form: Format, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.form = form
        if cast(Any, self).use_vllm:
            engine = cast(Any, self).vllm_generation
            parameters = engine._iter_named_params
            engine._iter_named_params = lambda: merged_parameters(parameters())

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        # A row's prompt is complete: a tokenizer that adds a token of its own would change what SFT trained on
        return self._text_tokenizer()(text=list(prompts), add_special_tokens=False)["input_ids"], None, {}

    def _get_train_sampler(self, dataset: Any = None) -> EpochSampler:
        return EpochSampler.like(cast(Any, super())._get_train_sampler(dataset))

    def _generate_and_score_completions(self, inputs: list[Batch]) -> Batch:
        self._rows = inputs
        return cast(Any, super())._generate_and_score_completions(inputs)

    def _generate(self, prompts: list[str]) -> tuple[Any, ...]:
        out = cast(Any, super())._generate(prompts)
        assert out[TOOL_MASK] is None, "TRL's own tool loop ran besides ours"
        return (*out[:TOOL_MASK], [episode.mask for episode in self._episodes], *out[TOOL_MASK + 1 :])

    def _generate_single_turn(self, prompt_ids: list[list[int]], *args: Any, **kwargs: Any) -> Any:
        def sample(prompts: list[list[int]], budgets: list[int]) -> tuple[list[list[int]], list[list[float]] | None]:
            with self._budgets(budgets):
                out = generate(prompts, *args, **kwargs)
            return out if isinstance(out, tuple) else (out, None)  # GRPO's gives log-probabilities, distillation's not

        generate = cast(Any, super())._generate_single_turn
        self._episodes = [
            Episode(ids, row["think"], row["budget"], row["environment"])
            for ids, row in zip(prompt_ids, self._rows, strict=True)
        ]
        gave_logprobs = play(self._episodes, sample, self._text_tokenizer(), self.form, self._max_length())
        self._note(self._episodes)
        completions = [episode.ids for episode in self._episodes]
        if not self._gives_logprobs:
            return completions
        return completions, [episode.logprobs for episode in self._episodes] if gave_logprobs else None

    def _max_length(self) -> int:
        """Tokens of the model's context, and of vLLM's where that is shorter."""
        trainer = cast(Any, self)
        limits = [trainer.model.config.max_position_embeddings]
        if trainer.use_vllm and trainer.args.vllm_max_model_length:
            limits.append(trainer.args.vllm_max_model_length)
        return min(limits)

    def _note(self, episodes: list[Episode]) -> None:
        """Put the turns into their rows, and log what each mode writes."""
        metrics = cast(Any, self)._metrics["train"]
        step = cast(Any, self).state.global_step + 1
        for place, (row, episode) in enumerate(zip(self._rows, episodes, strict=True)):
            name = f"{step}/{place}"
            row["sample"] = read(row, episode.turns, episode.turn_ids, self._text_tokenizer(), self.form, name)
        metrics["length/mean"].append(sum(sum(episode.mask) for episode in episodes) / len(episodes))
        for mode in sorted({row["mode"] for row in self._rows}):
            own = [e for e, row in zip(episodes, self._rows, strict=True) if row["mode"] == mode]
            metrics[f"length/{mode}"].append(sum(sum(e.mask) for e in own) / len(own))
            metrics[f"turns/{mode}"].append(sum(len(e.turns) for e in own) / len(own))

    @contextmanager
    def _budgets(self, budgets: list[int]) -> Iterator[None]:
        """While sampling, each prompt has its own token limit.

        transformers samples a batch to its longest budget, and what is over a row's own is cut off by the episode: the
        batch would run on in any case. vLLM is given the limits.
        """
        trainer = cast(Any, self)
        if not trainer.use_vllm:
            trainer.generation_config.max_new_tokens = max(budgets)
            yield
            return
        engine = trainer.vllm_generation.llm
        generate = engine.generate

        def limited(prompts: Any, sampling_params: Any, **kwargs: Any) -> Any:
            each = [sampling_params.clone() for _ in budgets]
            for params, budget in zip(each, budgets, strict=True):
                params.max_tokens = budget
            return generate(prompts, sampling_params=each, **kwargs)

        engine.generate = limited
        try:
            yield
        finally:
            engine.generate = generate

    def _text_tokenizer(self) -> PreTrainedTokenizerBase:
        return cast(PreTrainedTokenizerBase, cast(Any, self).processing_class)
