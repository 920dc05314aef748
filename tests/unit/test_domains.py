"""Tasks: held out means never trained on, gold answers earn full marks, seeds decide."""

import random

import pytest

from polymath.chat import MODES, V4Format
from polymath.data import held_out_rows, training_rows
from polymath.domains import Domain, held_out_tasks, is_held_out, training_tasks
from polymath.domains.agent import AgentDomain
from polymath.domains.arithmetic import MathDomain, add_by_column
from polymath.domains.gym import add_term_by_term
from polymath.stage import ModeConfig

DOMAINS: list[Domain] = [MathDomain(min_operand=10, max_operand=59), AgentDomain(max_number=49)]
MODES_OF = {mode: ModeConfig(think=mode) for mode in MODES}


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda domain: domain.kind)
def test_evaluation_shares_no_prompt_with_training(domain: Domain) -> None:
    trained = [task for seed in range(2) for task in training_tasks(domain, 4000, seed)]
    held_out = [task for seed in range(2) for task in held_out_tasks(domain, 200, seed)]
    assert not {str(task.messages) for task in trained} & {str(task.messages) for task in held_out}
    assert not {task.key for task in trained} & {task.key for task in held_out}


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda domain: domain.kind)
def test_one_question_has_one_key(domain: Domain) -> None:
    keys = {}
    for task in training_tasks(domain, 5000, 0):
        assert keys.setdefault(str(task.messages), task.key) == task.key


def test_swapped_operands_stay_on_one_side() -> None:
    rng = random.Random(0)
    tasks = (DOMAINS[0].draw(rng) for _ in range(20_000))
    sides = {task.messages[0]["content"]: is_held_out(task) for task in tasks}
    swapped = {" + ".join(reversed(question.split(" + "))): side for question, side in sides.items()}
    assert all(sides[question] == side for question, side in swapped.items() if question in sides)


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda domain: domain.kind)
@pytest.mark.parametrize("mode", MODES)
def test_gold_answers_earn_full_marks_and_others_nothing(worth, domain: Domain, mode) -> None:
    rows = held_out_rows("d", domain, held_out_tasks(domain, 100, 0), {mode: MODES_OF[mode]}, V4Format())
    turns = [[segment.text for segment in row.completion if segment.generated] for row in rows]
    for index, row in enumerate(rows[:-1]):
        assert worth(row.reward, turns[index], mode, row.answer) == 1.0
        if row.answer != rows[index + 1].answer:
            assert worth(row.reward, turns[index + 1], mode, row.answer) == 0.0


def test_a_seed_decides_the_tasks() -> None:
    domain = DOMAINS[0]
    assert training_tasks(domain, 50, 1) == training_tasks(domain, 50, 1) != training_tasks(domain, 50, 2)


def test_each_mode_is_shown_its_own_styles() -> None:
    domain = MathDomain(styles={"high": ("sums",), "max": ("columns", "sums")})
    rows = training_rows({"math": domain}, {"math": 1}, MODES_OF, 300, 0, V4Format())
    written_out = {mode: ["=" in r.completion[0].text for r in rows if r.mode == mode] for mode in MODES}
    assert not any(written_out["high"] + written_out["non_think"])
    assert 30 < sum(written_out["max"]) < 70 == len(written_out["max"]) - 30


def test_a_domain_that_is_too_small_says_so() -> None:
    with pytest.raises(ValueError, match="has only .* of the 50 held-out tasks"):
        held_out_tasks(MathDomain(min_operand=10, max_operand=20), 50, 0)


def test_rows_keep_to_shares_and_modes() -> None:
    domains: dict[str, Domain] = {"math": DOMAINS[0], "agent": DOMAINS[1]}
    modes = MODES_OF | {"quick": ModeConfig(think="high", max_completion_length=32)}
    rows = training_rows(domains, {"math": 3, "agent": 1}, modes, 160, 0, V4Format())
    counts = {(name, mode): sum((r.domain, r.mode) == (name, mode) for r in rows) for name in domains for mode in modes}
    assert counts == {(name, mode): {"math": 30, "agent": 10}[name] for name in domains for mode in modes}
    assert {(row.think, row.budget) for row in rows if row.mode == "quick"} == {("high", 32)}


@pytest.mark.parametrize(
    ("a", "b", "steps"),
    [(47, 38, "7+8=15 4+3+1=8"), (99, 11, "9+1=10 9+1+1=11"), (40, 7, "0+7=7 4+0=4"), (0, 0, "0+0=0")],
)
def test_columns_carry(a: int, b: int, steps: str) -> None:
    assert add_by_column(a, b) == steps


def test_running_total() -> None:
    assert add_term_by_term("57 + 87 - 170") == "57 + 87 = 144, 144 - 170 = -26"
