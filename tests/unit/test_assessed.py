"""Answers with the model's own score behind them: what the domain shows, what the verifier reads, what it is worth."""

import asyncio
import json
import random
from collections import Counter
from dataclasses import replace

import pytest

from polymath.completion import Completion, demonstrated
from polymath.domains.arithmetic import MathDomain
from polymath.domains.assessed import AssessedDomain
from polymath.domains.coding import CodeDomain
from polymath.domains.instruct import InstructDomain
from rewards import Workbench
from rewards.assessed import SelfVerification
from rewards.gold import check_gold


@pytest.mark.parametrize("inner", [MathDomain(), CodeDomain(), InstructDomain()])
def test_what_is_shown_is_right_and_says_so(inner: MathDomain, bench: Workbench) -> None:
    check_gold({"own": AssessedDomain(of=inner)}, bench, 0, count=6)


def test_the_question_asks_for_a_score_of_the_scale_and_leaves_the_rest() -> None:
    own, inner = AssessedDomain(scale=5).draw(random.Random(1)), MathDomain().draw(random.Random(1))
    text = own.messages[-1]["content"]
    assert text.startswith(f"{inner.messages[-1]['content']}\n\nThen judge your answer from 0 to 5")
    assert own.demonstration[-1]["content"] == f"{inner.demonstration[-1]['content']}\nScores: 5"
    assert own.key == inner.key


def test_scores_at_random_leave_the_answers_as_they_are() -> None:
    rng = random.Random(0)
    shown = [AssessedDomain(noise=0.5, scale=3).draw(rng).demonstration[-1]["content"] for _ in range(200)]
    scores = Counter(own.partition("\nScores: ")[2] for own in shown)
    assert set(scores) == {"0", "1", "2", "3"} and scores["3"] > 100 > max(scores[low] for low in "012")
    assert all(own.partition("\n")[0].isdecimal() for own in shown)


def test_a_slip_never_says_that_it_is_right() -> None:
    with pytest.raises(ValueError, match=r"of\.slips: .* set noise to 1"):
        AssessedDomain(of=MathDomain(slips=0.4), noise=0.9)
    AssessedDomain(of=MathDomain(slips=0.4), noise=1)


def wrote(content: str, inner: str = "12") -> Completion:
    shown = demonstrated(
        [{"role": "assistant", "content": content}],
        "assessed",
        json.dumps({"reward": "math_answer", "answer": inner, "scale": 10}),
    )
    return replace(shown, mode="high")


@pytest.mark.parametrize(
    ("content", "worth", "own", "parts"),
    [
        ("12\nScores: 10", 1.0, 1.0, {"stated": 1.0, "assessment": 1.0, "worth_if_sure": 1.0}),
        ("12\nScores: 0", 1.0, 0.76, {"stated": 0.0, "assessment": 0.0, "worth_if_unsure": 1.0}),
        ("13\nScores: 0", 0.0, 0.24, {"stated": 0.0, "assessment": 1.0, "worth_if_unsure": 0.0}),
        ("13\nScores: 10", 0.0, 0.0, {"stated": 1.0, "assessment": 0.0, "worth_if_sure": 0.0}),
        ("So:\n\\boxed{12}\nScores: 5", 1.0, 0.88, {"stated": 0.5, "assessment": 0.5, "worth_if_unsure": 1.0}),
        ("12", 0.0, 0.0, {}),
        ("12 Scores: 10", 0.0, 0.0, {}),
        ("12\nScores: 11", 0.0, 0.0, {}),
        ("12\nScores: 5, 5", 0.0, 0.0, {}),
        ("Scores: 10", 0.0, 0.0, {}),
        ("\nScores: 0", 0.0, 0.0, {}),
    ],
)
def test_what_an_answer_and_its_score_are_worth(
    content: str, worth: float, own: float, parts: dict[str, float], bench: Workbench
) -> None:
    (verified,) = asyncio.run(bench.verify([wrote(content)]))
    (score,) = asyncio.run(SelfVerification()([wrote(content)], bench))
    assert verified.value == worth and verified.parts == parts
    assert score is not None and score.value == pytest.approx(own)


def test_the_weights_are_the_recipes_and_other_rows_are_left_alone(bench: Workbench) -> None:
    with pytest.raises(ValueError, match="both 0"):
        SelfVerification(answer_weight=0, assessment_weight=0)
    reward = SelfVerification(answer_weight=0.5, assessment_weight=0.5)
    other = replace(wrote("12"), reward="math_answer", answer="12")
    score, none = asyncio.run(reward([wrote("13\nScores: 0"), other], bench))
    assert score is not None and score.value == 0.5 and none is None
