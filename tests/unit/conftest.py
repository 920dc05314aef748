"""A GRPO trainer as `rl.train` makes it, around a model of a test's own."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from polymath.chat import V4Format
from polymath.completion import Completion
from polymath.data import Row, prompt_dataset
from polymath.engine.protocol import Sampling
from polymath.run_dir import StageDir
from polymath.sandbox_config import SandboxConfig
from rewards import Score, open_bench
from rewards.base import RewardConfig, Workbench
from rewards.scorer import Scorer

if TYPE_CHECKING:  # pytest reads this file before it starts its processes, and torch takes seconds
    from rl.refill import Reserve
    from rl.trainer import SpecialistTrainer

WORDS = ["look up the entry of Ada and write it down"]


class Letters(RewardConfig):
    """The share of letters in what a model wrote: random tokens differ in it. Where the answer is `dead`, always 1."""

    name: Literal["letters"] = "letters"

    def __call__(self, completions: Sequence[Completion], bench: Workbench) -> list[Score | None]:
        texts = [own.reasoning + own.content for own in completions]
        shares = [sum(letter.isalpha() for letter in text) / max(1, len(text)) for text in texts]
        return [Score(1.0 if own.answer == "dead" else share) for own, share in zip(completions, shares, strict=True)]


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """For models so small that threads wait for one another."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def words() -> Any:
    """A tokenizer of some 400 tokens."""
    from polymath.tiny import build_tokenizer

    return build_tokenizer(WORDS, 400)


@pytest.fixture
def trainer_for(tmp_path: Path, words: Any) -> "Callable[..., SpecialistTrainer]":
    """`trainer_for(model, rows, ...)`: 4 completions of each of 2 prompts a step, rewarded for letters."""
    from trl.trainer.grpo_config import GRPOConfig

    from polymath.engine.local import LocalEngine
    from rl.refill import Reserve
    from rl.trainer import SpecialistTrainer

    def make(
        model: Any,
        rows: Sequence[Row] = (),
        *,
        rewards: Sequence[RewardConfig] = (Letters(),),
        engine_for: Callable[[Any], Any] | None = None,
        tokenizer: Any = words,
        reserve: "Reserve | None" = None,
        top_p: float = 1.0,
        top_k: int = 0,
        modes_per_task: int = 1,
        peft_config: Any = None,
        scorer: Scorer | None = None,
        jury_for: Any = None,
        **args: Any,
    ) -> "SpecialistTrainer":
        scorer = scorer or Scorer(rewards, open_bench(SandboxConfig()))
        settings: dict[str, Any] = {
            "per_device_train_batch_size": 8, "num_generations": 4, "max_completion_length": 16, "max_steps": 1,
            "scale_rewards": "none", "logging_steps": 1, "save_strategy": "no", "use_cpu": True, "bf16": False,
            "report_to": "none", "disable_tqdm": True, "remove_unused_columns": False, "lr_scheduler_type": "constant",
            "gradient_checkpointing": False, "seed": 3,
        }  # fmt: skip
        settings |= {"reward_weights": scorer.weights(), "top_p": top_p, "top_k": top_k} | args
        row = Row("Ada", (), "math", "high", "high", 8, "math_answer", "1")
        return SpecialistTrainer(
            form=V4Format(),
            folder=StageDir(tmp_path),
            engine_for=engine_for or (lambda policy: LocalEngine(policy, seed=0)),
            sampling=Sampling(0, (tokenizer.eos_token_id,), settings.get("temperature", 1.0), top_p, top_k),
            modes_per_task=modes_per_task,
            scorer=scorer,
            reserve=reserve or Reserve([], 0, 0),
            jury_for=jury_for,
            model=model,
            args=GRPOConfig(str(tmp_path / "out"), **settings),
            train_dataset=prompt_dataset(rows or [row] * 8),
            processing_class=tokenizer,
            peft_config=peft_config,
        )

    return make
