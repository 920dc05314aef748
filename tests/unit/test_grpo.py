"""GRPO's rewards in TRL's trainer: what is summed, what is centred with what, and what is told."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from polymath.chat import V4Format
from polymath.chat.tokens import EOS
from polymath.completion import Completion, read
from polymath.data import Row, prompt_dataset, training_rows
from polymath.domains.arithmetic import MathDomain
from polymath.engine.local import LocalEngine
from polymath.models import TinyModel
from polymath.sandbox_config import SandboxConfig
from polymath.stage import ModeConfig
from polymath.tiny import build, build_tokenizer
from polymath.training import places_to_show
from rewards import LengthPenalty, OwnVerifier, PythonReward, Score, open_bench
from rewards.base import Workbench
from rewards.code_tests import extract
from rewards.length import L1Exact, L1Max, SoftOverlong, l1_exact, l1_max, soft_overlong
from rewards.score import score_batch
from rewards.scorer import Scorer
from rewards.style import FormatReward, Language, Repetition, language_share, repeated_share
from rl.refill import Reserve, has_signal

MODES = {
    "non_think": ModeConfig(think="non_think", max_completion_length=12),
    "high": ModeConfig(think="high", max_completion_length=20, length_penalty=0.5),
    "max": ModeConfig(think="max", max_completion_length=24, length_penalty=0.1),
}


@pytest.fixture
def empty() -> Workbench:
    return open_bench(SandboxConfig())


def test_every_task_stands_in_all_of_its_modes_and_no_step_is_left_out(trainer_for: Any) -> None:
    """TRL reckons the epochs of a stage from the length of its sampler."""
    rows = training_rows({"math": MathDomain()}, {"math": 1}, MODES, 8, 0, V4Format(), modes_per_task=3)
    assert [row.mode for row in rows] == [*MODES] * 3
    model, tokenizer = build(TinyModel(init="qwen3"), [row.prompt for row in rows], [], 0)
    sampler = trainer_for(model, rows, tokenizer=tokenizer, modes_per_task=3)._get_train_sampler()
    assert len(list(sampler)) == len(sampler) == 4 * 8  # of two prompts each


def test_advantages_are_centred_within_prompt_and_mode(trainer_for: Any, bench: Workbench) -> None:
    rows = training_rows({"math": MathDomain()}, {"math": 1}, MODES, 6, 0, V4Format(), modes_per_task=3)
    model, tokenizer = build(TinyModel(init="qwen3"), [row.prompt for row in rows], [], 0)
    scorer = Scorer((OwnVerifier(), LengthPenalty(weight=2.0, length_norm=20)), bench)
    trainer = trainer_for(
        model,
        rows,
        tokenizer=tokenizer,
        scorer=scorer,
        modes_per_task=3,
        per_device_train_batch_size=24,
        max_completion_length=24,
    )
    order = list(trainer._get_train_sampler())
    assert order[::12] in ([0, 3], [3, 0]) and sorted(order) == sorted([*range(6)] * 4)  # the modes of a task together
    batch = [dict(row) for row in prompt_dataset(rows) for _ in range(4)]
    out = trainer._generate_and_score_completions(batch)
    samples: list[Completion] = [row["sample"] for row in batch]
    assert [sample.mode for sample in samples] == [row["mode"] for row in batch]
    assert [sample.mode for sample in samples[::4]] == [*MODES] * 2 and samples[0].prompt != samples[12].prompt
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


def row(prompt: str, mode: str = "high", domain: str = "math", answer: str = "alive") -> Row:
    """Completions of a row whose answer is `dead` are all worth the same."""
    return Row(prompt, (), domain, mode, "high", 8, "math_answer", answer)


def test_a_group_has_signal_where_its_rewards_differ() -> None:
    nan = float("nan")
    rewards = torch.tensor(
        [[1.0, 1, 1], [0, 0, 1e-3], [0, 1e-9, 0], [nan, 1, 1], [nan, 0, 1], [nan, nan, nan], [-2, -2, -1]]
    )
    assert has_signal(rewards).tolist() == [False, True, False, False, True, False, True]


def test_what_a_reserve_gives_depends_on_seed_step_and_round_alone() -> None:
    rows = [
        vars(row(f"{domain} {mode} {i}", mode, domain))
        for domain in ("a", "b")
        for mode in ("x", "y")
        for i in range(20)
    ]
    wanted = [
        vars(row("", mode, domain)) for domain, mode in (("a", "x"), ("b", "y"), ("a", "x"), ("a", "y"), ("a", "x"))
    ]

    def drawn(seed: int, step: int, attempt: int) -> list[str]:
        found = Reserve(rows, 2, seed).replacements(wanted, step, attempt)
        assert [(own["domain"], own["mode"]) for own in found] == [(own["domain"], own["mode"]) for own in wanted]
        assert len({own["prompt"] for own in found}) == len(found)
        return [own["prompt"] for own in found]

    reserve = Reserve(rows, 2, 7)
    history = [[own["prompt"] for own in reserve.replacements(wanted, step, 1)] for step in range(8)]
    assert history == [drawn(7, step, 1) for step in range(8)]  # whatever was drawn before
    assert len({tuple(own) for own in history}) == 8
    assert drawn(7, 3, 1) != drawn(7, 3, 2) and drawn(7, 3, 1) != drawn(8, 3, 1)
    assert reserve.replacements([vars(row("own", "z", "c"))], 1, 1)[0]["prompt"] == "own"  # where there is no other
    assert Reserve([], 3, 0).rounds == 0


def refilled(trainer_for: Any, words: Any, reserve: list[Row], rounds: int) -> tuple[Any, dict[str, Any]]:
    """A batch of two groups with signal and two without, one of these in another mode."""
    rows = [row("Ada"), row("look up", answer="dead"), row("write it"), row("the entry", "max", answer="dead")]
    asked: list[str] = []

    class Noting(LocalEngine):
        def generate(self, requests: Any, watch: Any = None) -> list[Any]:
            asked.extend(request.key for request in requests)
            return super().generate(requests, watch)

    torch.manual_seed(0)
    settings: dict[str, Any] = {"vocab_size": len(words), "max_position_embeddings": 64, "num_hidden_layers": 1}
    settings |= {"hidden_size": 32, "intermediate_size": 48, "head_dim": 16, "num_attention_heads": 2}
    model = Qwen3ForCausalLM(Qwen3Config(**settings, num_key_value_heads=2))
    trainer = trainer_for(
        model, rows, reserve=Reserve([vars(own) for own in reserve], rounds, 0), per_device_train_batch_size=16,
        engine_for=lambda policy: Noting(policy, seed=0),
    )  # fmt: skip
    batch = [dict(vars(own)) for own in rows for _ in range(4)]
    out = trainer._generate_and_score_completions(batch)
    metrics = {name: own[-1] for name, own in trainer._metrics["train"].items()}
    return trainer, {"out": out, "metrics": metrics, "asked": asked}


def trained(trainer: Any) -> list[tuple[str, str, str]]:
    """What stands in the batch: prompt, mode and answer of each group."""
    rows = trainer._rows
    groups = [
        {(own["prompt"], own["mode"], own["answer"]) for own in rows[start : start + 4]}
        for start in range(0, len(rows), 4)
    ]
    assert all(len(group) == 1 for group in groups)
    return [next(iter(group)) for group in groups]


def test_groups_without_signal_give_their_place(trainer_for: Any, words: Any) -> None:
    reserve = [row("down"), row("and"), row("of Ada", "max"), row("it of", "max")]
    trainer, seen = refilled(trainer_for, words, reserve, 2)
    groups = trained(trainer)
    assert [groups[0], groups[2]] == [("Ada", "high", "alive"), ("write it", "high", "alive")]
    assert [group[1:] for group in groups] == [("high", "alive")] * 3 + [("max", "alive")]
    assert groups[1][0] in ("down", "and") and groups[3][0] in ("of Ada", "it of")
    metrics, out = seen["metrics"], seen["out"]
    assert metrics["reward/zero_std_share"] == 0.5 and metrics["reward/refilled_groups"] == 2
    assert metrics["frac_reward_zero_std"] == 0  # of what is trained on
    assert seen["asked"] == [f"1/{place}/0" for place in range(24)]  # one round was enough
    rewards = torch.tensor([letters(own["sample"]) for own in trainer._rows]).view(4, 4)
    assert torch.allclose(out["advantages"].view(4, 4), rewards - rewards.mean(1, keepdim=True), atol=1e-6)
    assert (out["advantages"].view(4, 4).abs().amax(1) > 0).all()
    for own, ids, mask in zip(
        trainer._rows, out["completion_ids"].tolist(), out["completion_mask"].tolist(), strict=True
    ):
        assert sum(mask) == own["sample"].tokens and len(ids) == len(mask)
    prompts = [words.encode(own["prompt"], add_special_tokens=False) for own in trainer._rows]
    found = [
        [token for token, real in zip(ids, mask, strict=True) if real]
        for ids, mask in zip(out["prompt_ids"].tolist(), out["prompt_mask"].tolist(), strict=True)
    ]
    assert found == prompts
    stayed = trainer._rows[:4] + trainer._rows[8:12]
    first = sum(letters(own["sample"]) for own in stayed) + 8 * 1.0
    assert metrics["reward/total"] == pytest.approx(first / 16, abs=1e-6)  # of what was sampled first
    assert all(len(trainer._metrics["train"][name]) == 1 for name in ("time/sync", "time/generate", "time/rewards"))


def test_every_mode_is_shown() -> None:
    rows = [{"domain": "math", "mode": mode} for _ in range(5) for mode in ("a", "b", "c") for _ in range(8)]
    assert places_to_show(rows, 8) == [0, 8, 16, 24]  # the first group of each mode, then the next of the first
    assert places_to_show(rows[:8]) == [0, 1, 2, 3] and places_to_show(rows[:2], 8) == [0]


def letters(sample: Completion) -> float:
    text = sample.reasoning + sample.content
    return sum(letter.isalpha() for letter in text) / max(1, len(text))


@pytest.mark.parametrize("mode", ["high", "max"])
def test_refilling_ends_with_its_rounds(trainer_for: Any, words: Any, mode: str) -> None:
    """Where one of two modes has rows with signal, its group finds a place taker and the other one does not."""
    other = {"high": "max", "max": "high"}[mode]
    reserve = [row("down", other, answer="dead"), row("and", other, answer="dead"), row("it of", mode)]
    trainer, seen = refilled(trainer_for, words, reserve, 3)
    groups = trained(trainer)
    assert [group[1] for group in groups] == ["high", "high", "high", "max"]
    left, taken = (1, 3) if mode == "max" else (3, 1)
    assert groups[taken] == ("it of", mode, "alive") and groups[left][2] == "dead"
    assert seen["metrics"]["reward/refilled_groups"] == 1 and seen["metrics"]["reward/zero_std_share"] == 0.5
    assert seen["metrics"]["frac_reward_zero_std"] == 0.25
    assert seen["asked"] == [f"1/{place}/0" for place in range(16 + 8 + 4 + 4)]


@pytest.mark.parametrize(("reserve", "rounds"), [([], 2), ([row("down")], 0)])
def test_nothing_is_refilled_where_nothing_may_be(
    trainer_for: Any, words: Any, reserve: list[Row], rounds: int
) -> None:
    trainer, seen = refilled(trainer_for, words, reserve, rounds)
    assert [group[0] for group in trained(trainer)] == ["Ada", "look up", "write it", "the entry"]
    assert seen["metrics"]["reward/refilled_groups"] == 0 and len(seen["asked"]) == 16
    assert seen["metrics"]["reward/zero_std_share"] == seen["metrics"]["frac_reward_zero_std"] == 0.5


def test_reasoning_is_counted_as_it_was_sampled() -> None:
    tokenizer = build_tokenizer(["look up the entry of Ada"], 400)
    row = {
        "reward": "",
        "answer": "",
        "domain": "",
        "mode": "high",
        "think": "high",
        "prompt": "",
        "budget": 9,
        "rubric": "",
    }
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
    started = time.process_time()
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
    assert time.process_time() - started < 20


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
        {"verifier": {"value": 1, "parts": {"passed": 1.0}}}, {},
        {"verifier": {"value": 0, "parts": {"passed": 0.5}, "faults": ["late"]}},
    ]  # fmt: skip
