"""GRPO's rewards in TRL's trainer: what is summed, what is centred with what, and what is told."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from trl.trainer.grpo_config import GRPOConfig

from polymath.chat import V4Format
from polymath.chat.tokens import EOS
from polymath.completion import Completion, read
from polymath.data import prompt_dataset, training_rows
from polymath.domains.arithmetic import MathDomain
from polymath.models import TinyModel
from polymath.run_dir import StageDir
from polymath.sandbox_config import SandboxConfig
from polymath.stage import ModeConfig
from polymath.tiny import build, build_tokenizer
from rewards import LengthPenalty, OwnVerifier, PythonReward, Score, open_bench
from rewards.base import Workbench
from rewards.code_tests import extract
from rewards.length import L1Exact, L1Max, SoftOverlong, effort_k, l1_exact, l1_max, soft_overlong
from rewards.score import score_batch
from rewards.style import FormatReward, Language, Repetition, language_share, repeated_share
from rl.rewards import Scorer
from rl.train import SpecialistTrainer

MODES = {
    "non_think": ModeConfig(think="non_think", max_completion_length=12),
    "high": ModeConfig(think="high", max_completion_length=20, length_penalty=0.5),
    "max": ModeConfig(think="max", max_completion_length=24, length_penalty=0.1),
}


@pytest.fixture
def empty() -> Workbench:
    return open_bench(SandboxConfig())


def test_advantages_are_centred_within_prompt_and_mode(tmp_path: Path, bench: Workbench) -> None:
    rows = training_rows({"math": MathDomain()}, {"math": 1}, MODES, 6, 0, V4Format())
    model, tokenizer = build(TinyModel(init="qwen3"), [row.prompt for row in rows], [], 0)
    scorer = Scorer((OwnVerifier(), LengthPenalty(weight=2.0, length_norm=20)), bench)
    trainer = SpecialistTrainer(
        form=V4Format(),
        scorer=scorer,
        folder=StageDir(tmp_path),
        model=model,
        args=GRPOConfig(
            str(tmp_path), per_device_train_batch_size=24, num_generations=4, max_completion_length=24, use_cpu=True,
            scale_rewards="none", reward_weights=scorer.weights(), report_to="none", bf16=False, max_steps=1,
            remove_unused_columns=False,
        ),
        train_dataset=prompt_dataset(rows),
        processing_class=tokenizer,
    )  # fmt: skip
    batch = [dict(row) for row in prompt_dataset(rows) for _ in range(4)]
    out = trainer._generate_and_score_completions(batch)
    samples: list[Completion] = [row["sample"] for row in batch]
    assert [sample.mode for sample in samples] == [row["mode"] for row in batch]
    penalties = {"non_think": 0.0, "high": 0.5, "max": 0.1}
    expected = [
        (score.value if (score := verdict) else 0.0)
        - 2 * min(0.5, penalties[sample.mode] * sample.reasoning_tokens / 20)
        for sample, verdict in zip(samples, scorer.latest["verifier"], strict=True)
    ]
    groups = torch.tensor(expected).view(-1, 4)
    assert torch.allclose(out["advantages"], (groups - groups.mean(1, keepdim=True)).flatten(), atol=1e-6)
    assert groups.std() > 0 and all(len({(s.prompt, s.mode) for s in samples[i : i + 4]}) == 1 for i in range(0, 24, 4))
    assert all(0 < s.tokens <= s.budget for s in samples) and {s.reasoning_tokens for s in samples[:4]} == {0}


def test_reasoning_is_counted_as_it_was_sampled() -> None:
    tokenizer = build_tokenizer(["look up the entry of Ada"], 400)
    row = {"reward": "", "answer": "", "domain": "", "mode": "high", "think": "high", "prompt": "", "budget": 9}
    texts = ["look up</think>", "Ada the entry"]
    ids = [
        [*tokenizer.encode("l"), *tokenizer.encode("ook up"), *tokenizer.encode("</think>")],
        tokenizer.encode("Ada"),
    ]
    own = read(row | {"length_penalty": 0.1}, texts, ids, tokenizer, V4Format(), "3/7")
    assert own.tokens == len(ids[0]) + len(ids[1]) and own.name == "3/7"
    assert own.reasoning_tokens == len(ids[0]) - 1 + len(ids[1])  # the second turn never closes its reasoning
    quiet = read(row | {"length_penalty": 0.1, "think": "non_think"}, ["4" + EOS], [[1, 2]], tokenizer, V4Format())
    assert (quiet.tokens, quiet.reasoning_tokens) == (2, 0)


def test_length_by_hand() -> None:
    assert [soft_overlong(n, 100, 20) for n in (0, 80, 90, 100, 300)] == [0, 0, -0.5, -1, -1]
    assert l1_exact(150, 100, 0.01) == l1_exact(50, 100, 0.01) == -0.5
    assert [l1_max(n, 100, 0.01, 0.5) for n in (0, 100, 125, 150, 900)] == [1, 0.5, 0.25, 0, 0]
    assert effort_k(50, 0.4, 50, 25) == 0.4 and effort_k(100, 0.4, 50, 25) == pytest.approx(0.4 * 2.718281828**-2)


def written(content: str, answer: str = "4", **fields: Any) -> Completion:
    turn = {"content": content, "reasoning": fields.pop("reasoning", ""), "tool_calls": [], "faults": []}
    return Completion((turn,), "math_answer", answer, **fields)


def values(reward: Any, completions: Sequence[Completion], bench: Workbench) -> list[float | None]:
    scores = asyncio.run(score_batch("r", lambda own: reward(own, bench), completions))
    return [score and score.value for score in scores]


def test_targets_of_length(empty: Workbench) -> None:
    right, wrong = written("4", tokens=120, mode="high"), written("5", tokens=120, mode="high")
    other = written("4", tokens=120, mode="max")
    assert values(L1Exact(target={"high": 100}, alpha=0.01), [right, wrong, other], empty) == pytest.approx(
        [-0.2, -0.2, None]
    )
    assert values(L1Max(target={"high": 100}, alpha=0.01), [right, wrong, other], empty) == pytest.approx([0.3, 0, 1])
    assert values(SoftOverlong(ramp=0.2), [written("4", tokens=95, budget=100)], empty) == pytest.approx([-0.75])


def test_repetition_and_format(empty: Workbench) -> None:
    texts = ["a b c d e f", "a b a b a b a b", "word", ""]
    assert [repeated_share(text, 2) for text in texts] == pytest.approx([0, 5 / 7, 0, 0])
    assert values(Repetition(ngram_size=2, maximum=0.5), [written(texts[1])], empty) == pytest.approx([-5 / 14])
    from trl.rewards.other_rewards import get_repetition_penalty_reward

    ids = [[ord(word) for word in text.split()] for text in texts[:2]]  # TRL counts n-grams of tokens
    theirs = get_repetition_penalty_reward(ngram_size=2, max_penalty=-0.5)(completions=texts[:2], completion_ids=ids)
    assert values(Repetition(ngram_size=2, maximum=0.5), [written(t) for t in texts[:2]], empty) == pytest.approx(
        theirs
    )
    assert values(FormatReward(), [written("4"), written("4", think="high")], empty) == [1, 0]


ENGLISH = "The first number is even, and so we can divide it by two before we go on with the rest of the proof."
GERMAN = "Die erste Zahl ist gerade, und darum teilen wir sie durch zwei, bevor wir mit dem Beweis weitermachen."
CHINESE = "\u6211\u4eec\u9700\u8981\u8ba1\u7b97\u4e24\u4e2a\u6570\u7684\u548c"


@pytest.mark.parametrize(
    ("text", "language", "share"),
    [
        (ENGLISH, "en", 1), (GERMAN, "en", 0), (GERMAN, "de", 1), (ENGLISH, "de", 0), (CHINESE, "zh", 1), (CHINESE, "en", 0),
        (f"{ENGLISH}\n{GERMAN}", "en", 0.55), (f"so {CHINESE}", "en", 0.09), ("x = 4", "en", 1), ("12 + 3", "en", None),
        (f"```python\n{GERMAN}\n```\nyes", "en", 1), ("\u0434\u0430", "ru", 1), ("", "en", None),
    ],
)  # fmt: skip
def test_the_share_of_a_language(text: str, language: str, share: float | None) -> None:
    found = language_share(text, language)
    assert found == share if share is None else found == pytest.approx(share, abs=0.03)


def test_long_texts_are_judged_at_once(empty: Workbench) -> None:
    started = time.monotonic()
    for text in (
        "```a\n",
        "```\n",
        "a ",
        "$",
        "(",
        "\\boxed{",
        "\\boxed{5} ",
        "5 ",
        "the answer is ",
        "```python\n",
        "\u4f60",
        "`",
        "~~~\n",
    ):
        long = written(text * (100_000 // len(text)), "5", reasoning=text * 1000)
        assert values(OwnVerifier(), [long], empty) == [float(text.startswith("\\boxed{5}"))]
        for judge in (Language(), Repetition()):
            values(judge, [long], empty)
        extract(long.content)
    assert time.monotonic() - started < 20


def test_a_reward_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty: Workbench) -> None:
    (tmp_path / "own_rewards.py").write_text(
        "async def later(completions, bonus=0.0):\n    return [len(c.content) + bonus for c in completions]\n"
        "def some(completions):\n    return [None if c.content == '5' else 1 for c in completions]\n"
        "def short(completions):\n    return [1.0]\n"
        "def odd(completions):\n    return [float('nan') for c in completions]\n"
    )
    monkeypatch.chdir(tmp_path)
    two = [written("4"), written("5")]
    assert values(PythonReward(name="own_rewards:later", arguments={"bonus": 0.5}), two, empty) == [1.5, 1.5]
    assert values(PythonReward(name="own_rewards:some"), two, empty) == [1, None]
    for name, says in (("short", "meant is a list of 2 scores, and it gave 1 of them"), ("odd", "a finite number")):
        with pytest.raises(ValueError, match=says):
            values(PythonReward(name=f"own_rewards:{name}"), two, empty)
    with pytest.raises(ValueError, match=r"takes no argument 'bonu'; did you mean 'bonus'\?"):
        PythonReward(name="own_rewards:later", arguments={"bonu": 1})


def test_metrics_have_names_of_their_own(empty: Workbench) -> None:
    settings = (Repetition(), Repetition(ngram_size=5), PythonReward(name="json:dumps"), Language())
    scorer = Scorer(settings, empty)
    assert [function.__name__ for function in scorer.functions()] == ["repetition", "repetition-2", "dumps", "language"]
    scorer.latest = {"verifier": [Score(1, {"passed": 1.0}), None, Score(0, {"passed": 0.5}, ("late",))]}
    assert scorer.part_means() == {"reward/verifier/passed": 0.75}
    assert [scorer.told(place) for place in range(3)] == [
        {"verifier": {"value": 1}}, {}, {"verifier": {"value": 0, "faults": ["late"]}},
    ]  # fmt: skip
