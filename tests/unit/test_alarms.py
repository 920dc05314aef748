"""Alarms sound when something goes wrong: at the right step, once, and again after it has been gone."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError

from polymath.alarms import Alarm
from polymath.run_dir import append_line, read_lines
from rl.alarms import AlarmConfig, Alarms

MODES = {"non_think": None, "high": 0.5, "max": 0.1}  # what reasoning costs
HEALTHY = {
    "length/mean": 130.0, "length/non_think": 40.0, "length/high": 150.0, "length/max": 200.0, "length/drift": 9.9,
    "length/clipped_ratio": 0.1, "length/clipped_ratio/non_think": 0.0, "length/clipped_ratio/high": 0.2,
    "length/clipped_ratio/max": 0.5, "reward/zero_std_share": 0.9, "reward/verifier": 0.6, "policy/entropy": 0.4,
}  # fmt: skip


def fed(metric: str, values: Sequence[float | None], **settings: float) -> list[Alarm]:
    """The alarms of a run that is healthy but for one metric; None where a step lacks it."""
    alarms = Alarms(AlarmConfig.model_validate(settings), MODES)
    lines = [{name: value for name, value in (HEALTHY | {metric: own}).items() if value is not None} for own in values]
    return [alarm for step, line in enumerate(lines, start=1) for alarm in alarms.feed(step, line)]


def steps(metric: str, values: Sequence[float | None], **settings: float) -> list[int]:
    return [alarm.step for alarm in fed(metric, values, **settings)]


def test_a_healthy_run_is_silent() -> None:
    assert fed("policy/entropy", [0.4] * 60) == []
    assert fed("policy/entropy", [0.4 - 0.005 * step for step in range(60)]) == []  # it falls, but not to a tenth
    assert fed("length/max", [200.0 + 5 * step for step in range(60)]) == []  # max may grow to think more


@pytest.mark.parametrize("metric", ["length/clipped_ratio/high", "reward/zero_std_share"])
def test_a_share_sounds_after_some_steps_in_a_row(metric: str) -> None:
    assert steps(metric, [0.95, 0.95]) == []
    assert steps(metric, [0.95, 0.95, 0.1, 0.95, 0.95]) == []
    assert steps(metric, [0.1, 0.95, 0.95, 0.95]) == [4]
    assert steps(metric, [0.1, 0.95, 0.95], patience=1) == [2]
    assert steps(metric, [0.95] * 50) == [3]


@pytest.mark.parametrize("metric", ["length/clipped_ratio/high", "reward/zero_std_share"])
def test_it_sounds_again_once_it_has_been_gone(metric: str) -> None:
    gone = [0.95] * 3 + [0.1] * 3 + [0.95] * 4
    assert steps(metric, gone) == [3, 9]
    flickering = [0.95] * 3 + [0.1, 0.95, 0.95] * 10
    assert steps(metric, flickering) == [3]


def test_bounds_themselves_are_healthy() -> None:
    assert steps("length/clipped_ratio/high", [0.5] * 9) == []
    assert steps("length/clipped_ratio/high", [0.501] * 9) == [3]
    assert steps("length/clipped_ratio/high", [0.5] * 9, max_clipped_ratio=0.4)[:1] == [3]
    assert steps("reward/zero_std_share", [0.9] * 9) == []
    assert steps("reward/zero_std_share", [1.0] * 9, max_zero_std_share=1) == []


def test_entropy_is_compared_with_the_first_steps() -> None:
    assert steps("policy/entropy", [0.4] * 10 + [0.041]) == []
    assert steps("policy/entropy", [0.4] * 10 + [0.039, 0.01, 0.001]) == [11]
    assert steps("policy/entropy", [0.4] * 4 + [0.039] * 5) == []  # they count towards the mean
    assert steps("policy/entropy", [0.4] * 4 + [0.039], window=4) == [5]
    assert steps("policy/entropy", [0.4] * 10 + [0.19], min_entropy_fraction=0.5) == [11]
    assert steps("policy/entropy", [0.4] * 10 + [0.01, 0.4, 0.4, 0.4, 0.01]) == [11, 15]
    assert steps("policy/entropy", [0.4] * 10 + [0.01, 0.4, 0.4, 0.01]) == [11]


def test_lengths_drift_either_way() -> None:
    assert steps("length/high", [100.0] * 10 + [299.0, 34.0]) == []
    assert steps("length/high", [100.0] * 10 + [301.0, 400.0, 500.0]) == [11]
    assert steps("length/high", [100.0] * 10 + [33.0, 20.0]) == [11]
    assert steps("length/high", [100.0] * 10 + [301.0, 20.0]) == [11, 12]
    assert steps("length/high", [100.0] * 10 + [160.0], max_length_factor=1.5) == [11]
    assert steps("length/high", [50.0, 150.0] * 5 + [290.0, 310.0]) == [12]  # three times the mean, not the first
    assert steps("length/high", [0.0] * 10 + [0.0, 0.0]) == []


def test_a_step_may_lack_a_metric() -> None:
    assert Alarms(AlarmConfig(), MODES).feed(1, {}) == []
    share = "length/clipped_ratio/high"
    assert steps(share, [0.9, None, 0.9, None, 0.9]) == [5]
    assert steps(share, [0.9, 0.9, 0.9, None, None, None, 0.9]) == [3]
    assert steps("policy/entropy", [None, 0.4] * 10 + [None, 0.01]) == [22]
    assert steps("policy/entropy", [0.4] * 10 + [float("nan"), 0.01]) == [12]
    assert steps("policy/entropy", [float("nan"), *[0.4] * 10, 0.01]) == [12]
    assert steps("length/high", [None] * 10 + [100.0] * 10 + [400.0]) == [21]


def test_each_mode_has_alarms_of_its_own() -> None:
    alarms = Alarms(AlarmConfig(patience=1, window=1), {"high": None, "max": None})
    assert alarms.feed(1, {"length/high": 10.0, "length/max": 100.0, "length/mean": 1.0, "length/drift": 1.0}) == []
    line = {"length/high": 100.0, "length/max": 10.0, "length/mean": 99.0, "length/drift": 99.0}
    ratios = {"length/clipped_ratio/max": 0.9, "length/clipped_ratio/high": 0.2, "length/clipped_ratio": 0.9}
    found = alarms.feed(2, line | ratios)
    assert [(alarm.name, alarm.of) for alarm in found] == [
        ("length_drift", "high"), ("truncation", "max"), ("length_drift", "max")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("metric", "values", "name", "mode", "value", "bound", "said"),
    [
        ("length/clipped_ratio/high", [0.62] * 3, "truncation", "high", 0.62, 0.5,
         ["62%", "50%", "3 logged steps", "raise modes.high.max_completion_length", "modes.high.length_penalty"]),
        ("reward/zero_std_share", [0.97] * 3, "equal_rewards", None, 0.97, 0.9,
         ["97%", "90%", "harder", "0.60", "raise num_generations", "raise temperature"]),
        ("policy/entropy", [0.5] * 10 + [0.012], "entropy_collapse", None, 0.012, 0.05,
         ["0.012", "0.05", "0.5", "lower learning_rate", "raise epsilon_high", "raise beta", "raise temperature"]),
        ("length/max", [200.0] * 10 + [812.0], "length_drift", "max", 812.0, 600.0,
         ["812", "3 times", "200", "raise modes.max.length_penalty", "lower modes.max.max_completion_length"]),
        ("length/max", [210.0] * 10 + [21.0], "length_drift", "max", 21.0, 70.0,
         ["21", "1/3", "210", "lower modes.max.length_penalty"]),
    ],
)  # fmt: skip
def test_an_alarm_says_what_is_seen_and_what_to_turn(
    metric: str, values: list[float], name: str, mode: str | None, value: float, bound: float, said: list[str]
) -> None:
    (alarm,) = fed(metric, values)
    assert (alarm.name, alarm.step, alarm.of, alarm.value) == (name, len(values), mode, value)
    assert alarm.bound == pytest.approx(bound)
    for part in (f"step {len(values)}", *said):
        assert part in alarm.message


def test_an_alarm_names_no_knob_that_does_nothing() -> None:
    (free,) = fed("length/clipped_ratio/non_think", [0.9] * 3)
    assert "raise modes.non_think.max_completion_length" in free.message and "penalty" not in free.message
    alarms = Alarms(AlarmConfig(window=1), {"high": 0.5, "max": 0.0})
    assert alarms.feed(1, {"length/max": 100.0}) == []
    (shorter,) = alarms.feed(2, {"length/max": 10.0})
    assert "lower modes.high.length_penalty" in shorter.message and "modes.max.length_penalty" not in shorter.message
    alarms = Alarms(AlarmConfig(window=1), {"max": 0.0})
    assert alarms.feed(1, {"length/max": 100.0}) == []
    assert "lower learning_rate" in alarms.feed(2, {"length/max": 10.0})[0].message


@pytest.mark.parametrize(("verified", "direction"), [(0.02, "easier"), (0.98, "harder"), (None, "easier or harder")])
def test_equal_rewards_say_which_tasks_are_meant(verified: float | None, direction: str) -> None:
    alarms = Alarms(AlarmConfig(patience=1), MODES)
    line = {"reward/zero_std_share": 1.0} | ({} if verified is None else {"reward/verifier": verified})
    (alarm,) = alarms.feed(1, line)
    assert f"domains {direction}" in alarm.message


@pytest.mark.parametrize("done", [2, 10, 12, 15])
def test_a_resumed_run_goes_on_where_it_was(tmp_path: Path, done: int) -> None:
    path = tmp_path / "metrics.jsonl"
    entropies = [0.4] * 10 + [0.01] * 3 + [0.4] * 4 + [0.01] * 3
    for step, entropy in enumerate(entropies, start=1):
        append_line(path, {"step": step} | HEALTHY | {"policy/entropy": entropy, "length/clipped_ratio/max": 0.7})
    straight, first, resumed = (Alarms(AlarmConfig(), MODES) for _ in range(3))
    lines = list(read_lines(path))
    whole = [straight.feed(line["step"], line) for line in lines]
    assert [alarm.name for own in whole for alarm in own] == ["truncation", "entropy_collapse", "entropy_collapse"]
    before = [first.feed(line["step"], line) for line in lines[:done]]
    assert [resumed.feed(line["step"], line) for line in json.loads(json.dumps(lines[:done]))] == before
    assert before + [resumed.feed(line["step"], line) for line in lines[done:]] == whole


def test_settings_are_checked_and_documented() -> None:
    wrong_settings = (
        {"patience": 0}, {"window": 0}, {"max_clipped_ratio": 1.2}, {"max_length_factor": 1.0}, {"min_entropy_fraction": 1},
        {"paitence": 3},
    )  # fmt: skip
    for wrong in wrong_settings:
        with pytest.raises(ValidationError):
            AlarmConfig.model_validate(wrong)
    assert all(field.description for field in AlarmConfig.model_fields.values())
