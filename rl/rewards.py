"""Rewards as TRL calls them: lists of columns in, one number a completion out."""

from collections.abc import Callable, Mapping
from typing import Any

from transformers import PreTrainedTokenizerBase, TrainerState

import rewards
from polymath.chat import Format, Mode, parse
from polymath.run_dir import StageDir
from polymath.stage import ModeConfig
from polymath.training import KEPT_A_STEP, write_rollouts
from rewards.length import length_penalty

Rewarder = Callable[..., list[float | None]]


def verifier(form: Format, folder: StageDir) -> Rewarder:
    """The reward of each row's own verifier; some of what it sees is kept in `rollouts.jsonl`."""

    def verified(
        prompts: list[str],
        turns: list[list[str]],
        think: list[Mode],
        reward: list[str],
        answer: list[str],
        trainer_state: TrainerState,
        **_: Any,
    ) -> list[float | None]:
        values: list[float | None] = [
            rewards.verify(*row, eos_token=form.eos_token) for row in zip(reward, turns, think, answer, strict=True)
        ]
        samples = zip(prompts, turns, values, strict=True)
        kept = [{"prompt": prompt, "turns": texts, "reward": value} for prompt, texts, value in samples]
        write_rollouts(folder, trainer_state.global_step + 1, kept[:: len(kept) // KEPT_A_STEP or 1])
        return values

    return verified


def length_reward(
    tokenizer: PreTrainedTokenizerBase, modes: Mapping[str, ModeConfig], length_norm: int, maximum: float
) -> Rewarder:
    """The length penalty of each row's think mode."""

    def length(turns: list[list[str]], mode: list[str], think: list[Mode], **_: Any) -> list[float | None]:
        reasoning = [count_reasoning(tokenizer, *row) for row in zip(turns, think, strict=True)]
        return [
            length_penalty(tokens, modes[own].length_penalty, length_norm, maximum)
            for tokens, own in zip(reasoning, mode, strict=True)
        ]

    return length


def count_reasoning(tokenizer: PreTrainedTokenizerBase, turns: list[str], think: Mode) -> int:
    """Tokens of reasoning in all turns of an episode: all of a turn's where it is never closed, none in Non-think."""
    if think == "non_think":
        return 0
    reasoning = [parse(turn, think, strict=False)["reasoning"] for turn in turns]
    return sum(len(tokenizer.encode(text, add_special_tokens=False)) for text in reasoning)
