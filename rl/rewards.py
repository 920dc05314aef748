"""Rewards as TRL calls them: lists of columns in, one number a completion out."""

from collections.abc import Callable, Mapping
from typing import Any

from transformers import PreTrainedTokenizerBase, TrainerState

import rewards
from polymath.chat import END_THINK, Mode
from polymath.run_dir import StageDir
from polymath.stage import ModeConfig
from polymath.training import KEPT_A_STEP, write_rollouts
from rewards.length import length_penalty

Rewarder = Callable[..., list[float | None]]


def verifier(tokenizer: PreTrainedTokenizerBase, folder: StageDir) -> Rewarder:
    """The reward of each row's own verifier; some of what it sees is kept in `rollouts.jsonl`.

    TRL decodes completions without special tokens, and with them would go the end of the turn and the tags: the ids are
    decoded again here.
    """

    def verified(
        prompts: list[str],
        completion_ids: list[list[int]],
        mode: list[Mode],
        reward: list[str],
        answer: list[str],
        trainer_state: TrainerState,
        **_: Any,
    ) -> list[float | None]:
        texts = tokenizer.batch_decode(completion_ids, skip_special_tokens=False)
        eos = str(tokenizer.eos_token)
        values: list[float | None] = [
            rewards.verify(*row, eos_token=eos) for row in zip(reward, texts, mode, answer, strict=True)
        ]
        samples = zip(prompts, texts, values, strict=True)
        kept = [{"prompt": prompt, "completion": text, "reward": value} for prompt, text, value in samples]
        write_rollouts(folder, trainer_state.global_step + 1, kept[:: len(kept) // KEPT_A_STEP or 1])
        return values

    return verified


def length_reward(
    tokenizer: PreTrainedTokenizerBase, modes: Mapping[Mode, ModeConfig], length_norm: int, maximum: float
) -> Rewarder:
    """The length penalty of each row's think mode; logs the mean length of each mode besides."""

    def length(
        completion_ids: list[list[int]], mode: list[Mode], log_metric: Callable[[str, float], None], **_: Any
    ) -> list[float | None]:
        for name in modes:
            lengths = [len(ids) for ids, own in zip(completion_ids, mode, strict=True) if own == name]
            if lengths:
                log_metric(f"length/{name}", sum(lengths) / len(lengths))
        return [
            length_penalty(count_reasoning(tokenizer, ids, own), modes[own].length_penalty, length_norm, maximum)
            for ids, own in zip(completion_ids, mode, strict=True)
        ]

    return length


def count_reasoning(tokenizer: PreTrainedTokenizerBase, ids: list[int], mode: Mode) -> int:
    """Tokens before `</think>`; all of them where the reasoning is never closed, none in Non-think."""
    if mode == "non_think":
        return 0
    text = str(tokenizer.decode(ids, skip_special_tokens=False))
    before, closed, _ = text.partition(END_THINK)
    return len(tokenizer.encode(before, add_special_tokens=False)) if closed else len(ids)
