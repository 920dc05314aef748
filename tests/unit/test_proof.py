"""What the proof refuses is learned from neither now nor after a restart."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from polymath.data import Row
from polymath.engine.local import LocalEngine
from polymath.engine.proof import Bound, DeliveryError
from polymath.engine.protocol import Request, Sample, Watch
from polymath.engine.wal import TokenLog, step_of

pytestmark = pytest.mark.usefixtures("one_thread")

ROWS = [Row(name, (), "math", "high", "high", 8, "math_answer", "1") for name in ("Ada", "look up")]


class Apart(LocalEngine):
    """Its word has to be proved, as that of an engine with weights of its own; from step `wrong` on it is wrong."""

    shares_weights = False
    can_sleep = False
    wrong = 99

    def __init__(self, policy: Any) -> None:
        self.asked: list[Request] = []
        super().__init__(policy, seed=0)

    def generate(self, requests: Any, watch: Watch | None = None) -> list[Sample]:
        self.asked += requests
        samples = super().generate(requests, watch)
        for request, sample in zip(requests, samples, strict=True):
            if step_of(request.key) >= self.wrong:
                sample.logprobs = [value - 1 for value in sample.logprobs]
        return samples


@pytest.fixture
def stage(trainer_for: Callable[..., Any], words: Any) -> Callable[[type[Apart]], Any]:
    def make(kind: type[Apart]) -> Any:
        torch.manual_seed(0)
        sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
        heads: dict[str, Any] = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}
        model = Qwen3ForCausalLM(Qwen3Config(**sizes, **heads, vocab_size=len(words)))
        return trainer_for(model, ROWS * 3, engine_for=kind, max_steps=3, learning_rate=1e-3)

    return make


def steps(log: Path) -> set[int]:
    return {step_of(key) for key in TokenLog(log).samples}


def test_a_restart_samples_anew_what_was_refused(stage: Callable[..., Any], tmp_path: Path) -> None:
    class Wrong(Apart):
        wrong = 2

    trainer = stage(Wrong)
    with pytest.raises(DeliveryError, match="at step 2"):
        trainer.train()
    assert steps(trainer.token_log.path) == {1}
    again = stage(Apart)
    again.train()
    assert again.state.global_step == 3
    assert {step_of(request.key) for request in again.engine.engine.asked} == {2, 3}
    gaps = [line["sync/logprob_gap"] for line in again.state.log_history if "sync/logprob_gap" in line]
    assert len(gaps) == 3 and max(gaps) < 1e-4  # the first one of tokens of the log


def test_tokens_of_another_policy_in_the_log_are_refused(stage: Callable[..., Any]) -> None:
    trainer = stage(Apart)
    trainer.train()
    log = trainer.token_log.path
    trainer.token_log.close()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        line["logprobs"] = [value - 1 for value in line["logprobs"]]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(DeliveryError, match="at the first delivery"):
        stage(Apart).train()
    assert steps(log) == set()


def test_the_bound_of_a_stage_outlives_its_process(stage: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2, "sync/logprob_gap": 0.003}\n')
    assert stage(Apart)._bound == Bound.calibrated(0.003, torch.float32)
