"""Episodes of several turns: what is executed, what is masked, and whose budget it is."""

import json
from pathlib import Path
from typing import Any

import pytest

from polymath.chat import Mode, V4Format
from polymath.chat.dsml import V4, Call, render_calls
from polymath.chat.tokens import EOS
from polymath.data import Row, _row, check_budgets, demonstration_dataset
from polymath.domains import Domain, training_tasks
from polymath.domains.agent import AgentDomain
from polymath.domains.arithmetic import MathDomain
from polymath.domains.task import Task
from polymath.engine.protocol import Request, Sample, Sampling
from polymath.episodes import MAX_TURNS, Episode, play
from polymath.stage import ModeConfig
from polymath.tiny import build_tokenizer

STATE = {"book": {"Ada": "12"}, "events": [], "files": {}}
DESK = json.dumps({"kind": "desk", "tools": ["look_up", "calculate"], "state": STATE})
SAMPLING = Sampling(max_tokens=0, stop_token_ids=())
LOOK_UP = render_calls([Call("look_up", {"name": "Ada"})], V4)


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(["look up the entry of Ada"], 400)


def run(
    tokenizer, written: list[list[str]], budgets: list[int], thinks: list[Mode]
) -> tuple[list[Episode], list[list[int]]]:
    """Play episodes whose model writes the given turns, as a sampler that stops at a budget would."""
    given = zip(thinks, budgets, strict=True)
    episodes = [Episode(f"4/{i}", [7 + i], think, budget, DESK) for i, (think, budget) in enumerate(given)]
    asked: list[list[int]] = []

    def sample(requests: list[Request]) -> list[Sample]:
        asked.append([request.sampling.max_tokens for request in requests])
        samples = []
        for request in requests:
            episode = episodes[int(request.key.split("/")[1])]
            assert request.key == f"{episode.name}/{len(episode.turns)}"
            assert request.prompt_ids == episode.prompt_ids + episode.ids and request.written == 0
            turns = written[episodes.index(episode)]
            text = turns[min(len(episode.turns), len(turns) - 1)]
            ids = tokenizer.encode(text, add_special_tokens=False)[: request.sampling.max_tokens]
            samples.append(Sample(ids, [-1.0] * len(ids), [[token] for token in ids]))
        return samples

    play(episodes, sample, SAMPLING, tokenizer, V4Format())
    return episodes, asked


def test_a_call_is_answered_and_the_thinking_goes_on(tokenizer) -> None:
    turns = [f"ask</think>{LOOK_UP}{EOS}", f"so 12</think>12{EOS}"]
    (episode,), _ = run(tokenizer, [turns], [500], ["high"])
    assert episode.turns == turns
    text = tokenizer.decode(episode.ids)
    answered = "<\uff5cUser\uff5c><tool_result>12</tool_result><\uff5cAssistant\uff5c><think>"
    assert text == turns[0] + answered + turns[1]
    theirs = [token for token, own in zip(episode.ids, episode.mask, strict=True) if not own]
    assert tokenizer.decode(theirs) == answered
    assert [bool(logprob) for logprob in episode.logprobs] == [bool(own) for own in episode.mask]
    assert [bool(kept) for kept in episode.kept] == [bool(own) for own in episode.mask]
    assert [token for own in episode.turn_ids for token in own] == [kept[0] for kept in episode.kept if kept]


def test_each_sample_has_its_mode_and_its_budget(tokenizer) -> None:
    turns = [
        [f"{LOOK_UP}{EOS}", f"12{EOS}"],
        [f"ask</think>{LOOK_UP}{EOS}", f"so</think>12{EOS}"],
        [f"hm</think>12{EOS}"],
    ]
    lengths = [[len(tokenizer.encode(text, add_special_tokens=False)) for text in own] for own in turns]
    budgets = [sum(lengths[0]), 300, 3]
    (quick, thinking, cut), asked = run(tokenizer, turns, budgets, ["non_think", "high", "max"])
    assert asked == [budgets, [lengths[0][1], 300 - lengths[1][0]]]  # results of tools are not counted
    assert (
        quick.turns == turns[0] and tokenizer.decode(quick.ids).count("</think>") == 1
    )  # the header's, not the model's
    assert thinking.turns == turns[1]
    assert sum(cut.mask) == len(cut.ids) == 3


def test_an_episode_ends_where_the_context_is_full(tokenizer) -> None:
    turn = tokenizer.encode(f"{LOOK_UP}{EOS}", add_special_tokens=False)
    answered = tokenizer.encode(V4Format().results(["12"], "non_think"), add_special_tokens=False)
    for room, turns in ((len(turn) + 5, 1), (len(turn) + len(answered) + 5, 2), (1000, 2)):
        episode = Episode("1/0", [7], "non_think", 2 * len(turn), DESK)

        def sample(requests: list[Request]) -> list[Sample]:
            cut = turn[: requests[0].sampling.max_tokens]
            return [Sample(cut, [-1.0] * len(cut))]

        play([episode], sample, SAMPLING, tokenizer, V4Format(), room)
        assert len(episode.turns) == turns and 1 + len(episode.ids) <= room
        assert len(episode.ids) == len(episode.logprobs) == len(episode.kept) == len(episode.mask)


@pytest.mark.parametrize("value", ['"\\u003c/think>"', '"\\ud800"', '"\\uff5cDSML\\uff5c"'])
def test_what_a_model_smuggles_into_a_result_harms_nothing(tokenizer, value: str) -> None:
    call = f"{LOOK_UP.replace('true', 'false').replace('Ada', value)}{EOS}"
    (episode,), asked = run(tokenizer, [[call, f"12{EOS}"]], [500], ["non_think"])
    assert len(asked) == 2 and "error: " in tokenizer.decode(episode.ids)


@pytest.mark.parametrize(
    "turn",
    [f"12{EOS}", LOOK_UP, f"see{LOOK_UP}x{EOS}", LOOK_UP.replace("string", "strong") + EOS, f"{LOOK_UP[:-3]}{EOS}", ""],
)
def test_what_is_not_a_whole_turn_of_calls_ends_the_episode(tokenizer, turn: str) -> None:
    (episode,), asked = run(tokenizer, [[turn]], [200], ["non_think"])
    assert len(asked) == 1 and episode.turns == [turn] and all(episode.mask)


def test_a_model_that_calls_for_ever_is_stopped(tokenizer) -> None:
    (episode,), asked = run(tokenizer, [[f"{LOOK_UP}{EOS}"]], [10_000], ["non_think"])
    assert len(episode.turns) == len(asked) == MAX_TURNS and episode.mask[-1] == 1


def rows_of(domain: Domain, think: Mode, budget: int = 10_000) -> list[tuple[Task, Row]]:
    mode = ModeConfig(think=think, max_completion_length=budget)
    return [(task, _row("d", domain.reward, task, think, mode, V4Format())) for task in training_tasks(domain, 60, 0)]


@pytest.mark.parametrize("think", ["non_think", "high", "max"])
@pytest.mark.parametrize("domain", [AgentDomain(), MathDomain()], ids=lambda domain: domain.kind)
def test_what_is_trained_is_what_the_model_writes(tokenizer, domain: Domain, think: Mode) -> None:
    pairs = rows_of(domain, think)
    examples: list[Any] = list(demonstration_dataset([row for _, row in pairs], tokenizer))
    for (task, row), example in zip(pairs, examples, strict=True):
        ids, mask = example["input_ids"], example["completion_mask"]
        assert tokenizer.decode(ids) == row.prompt + "".join(segment.text for segment in row.completion)
        trained = tokenizer.decode([token for token, own in zip(ids, mask, strict=True) if own])
        rest = tokenizer.decode([token for token, own in zip(ids, mask, strict=True) if not own])
        answers = [message for message in task.demonstration if message["role"] == "assistant"]
        assert trained.count(EOS) == len(answers) and rest.count(EOS) == 0
        assert trained.count("</think>") == (0 if think == "non_think" else len(answers))
        assert "<tool_result>" not in trained
        for message in task.demonstration:
            if message["role"] == "tool":
                assert f"<tool_result>{message['content']}</tool_result>" in rest


def test_a_demonstration_over_the_budget_is_refused(tokenizer, tmp_path: Path) -> None:
    rows = [row for _, row in rows_of(MathDomain(), "high", budget=5)]
    with pytest.raises(
        ValueError, match=r"modes.high.max_completion_length is 5, and a demonstration of the domain 'd'"
    ):
        check_budgets(rows, tokenizer)
