"""What is told of teachers: who is foreign, who has no more to teach, and that a checkpoint keeps to its own."""

import shutil
from pathlib import Path

import pytest

from distill.manifest import check_manifest, manifest_of
from distill.teachers import check_vocabularies
from distill.trainer import unfinished
from distill.watch import TeacherWatch
from polymath.models import base_of
from polymath.run_dir import write_json
from polymath.tiny import build_tokenizer

NAMES = ["math", "agent", "code"]


def lines(**kls: list[float]) -> list[dict[str, float]]:
    return [
        {f"kl/{name}": value for name, value in zip(kls, step, strict=True)} for step in zip(*kls.values(), strict=True)
    ]


def fed(watch: TeacherWatch, given: list[dict[str, float]]) -> list[tuple[str, int, str | None]]:
    told = [alarm for step, line in enumerate(given, 1) for alarm in watch.feed(step, line)]
    return [(alarm.name, alarm.step, alarm.of) for alarm in told]


def test_a_foreign_teacher_is_told_once_with_its_figure() -> None:
    watch = TeacherWatch(NAMES, None, 0.0)
    assert not watch.feed(1, {"kl/math": 0.4, "kl/code": 9.0})  # one is not known yet
    (alarm,) = watch.feed(2, {"kl/agent": 0.2, "kl/code": 0.1})
    assert (alarm.name, alarm.of, alarm.value, alarm.bound) == ("foreign_teacher", "code", 9.0, pytest.approx(1.5))
    assert "teacher 'code' is 9.00 nats" in alarm.message and "the others 0.30" in alarm.message
    assert not watch.feed(3, {"kl/code": 9.0, "kl/math": 0.1})


@pytest.mark.parametrize("first", [{"kl/a": 0.9, "kl/b": 0.01}, {"kl/a": 6.0, "kl/b": 5.0}])
def test_small_or_similar_divergences_are_no_alarm(first: dict[str, float]) -> None:
    assert not TeacherWatch(["a", "b"], None, 0.0).feed(1, first)
    assert not TeacherWatch(["a"], None, 0.0).feed(1, {"kl/a": 50.0})


def test_a_domain_is_finished_where_its_divergence_falls_no_more() -> None:
    given = lines(math=[1.0, 0.8, 0.6, 0.5, 0.4, 0.3], agent=[1.0, 0.5, 0.5, 0.49, 0.5, 0.49])
    watch = TeacherWatch(["math", "agent"], 2, 0.02)
    assert fed(watch, given) == [("plateau", 5, "agent")]  # (0.49, 0.50) after (0.50, 0.50)
    assert watch.finished.keys() == {"agent"}
    again = TeacherWatch(["math", "agent"], 2, 0.02)
    fed(again, given)
    assert again.finished == watch.finished  # a resumed run knows it from its metrics
    assert not fed(TeacherWatch(["math", "agent"], None, 0.02), given)


def test_a_divergence_that_rises_is_told_and_not_taken_for_learned() -> None:
    watch = TeacherWatch(["math", "agent"], 1, 0.02)
    assert fed(watch, lines(math=[0.2, 0.6, 0.9, 1.8], agent=[1.0, 0.5, 0.2, 0.1])) == [
        ("rising_divergence", 2, "math")
    ]
    assert not watch.finished and watch.learning == {"math", "agent"}
    (alarm,) = TeacherWatch(["math"], 1, 0.02).feed(1, {"kl/math": 0.2}) or watch.feed(5, {"kl/agent": 0.1})
    assert alarm.name == "plateau" and "give their places" in alarm.message
    (alarm,) = watch.feed(6, {"kl/math": 1.8})
    assert alarm.message.endswith("this stage ends") and watch.is_over
    assert watch.learning == {"math"}  # the step that is left is theirs who were last
    assert watch.finished.keys() == {"math", "agent"}


def test_estimates_around_zero_are_a_plateau_and_no_rise() -> None:
    watch = TeacherWatch(["math", "agent"], 2, 0.02)
    given = lines(math=[-0.001, -0.001, -0.001, -0.001], agent=[-0.0005, -0.0005, 0.002, 0.001])
    assert [name for name, *_ in fed(watch, given)] == ["plateau", "plateau"]
    assert watch.finished.keys() == {"math", "agent"}
    assert fed(TeacherWatch(["math"], 1, 0.02), lines(math=[-0.2, -0.05])) == [("rising_divergence", 2, "math")]


def test_an_extrapolated_teacher_is_farther_away_and_not_foreign() -> None:
    first = {"kl/math": 1.2, "kl/agent": 0.1}
    assert not TeacherWatch(["math", "agent"], None, 0.0, extrapolation=1.5).feed(1, first)
    assert TeacherWatch(["math", "agent"], None, 0.0).feed(1, first)


def test_an_adapter_is_the_same_teacher_wherever_its_base_lies(tmp_path: Path) -> None:
    def run(name: str, weights: bytes = b"base") -> Path:
        base, adapter = tmp_path / name / "01-format/model", tmp_path / name / "02-math/model"
        write_json(tmp_path / name / "resolved.json", {})
        for folder, content in ((base, weights), (adapter, b"adapter")):
            folder.mkdir(parents=True)
            (folder / "model.safetensors").write_bytes(content)
        write_json(base / "config.json", {})
        write_json(adapter / "adapter_config.json", {"r": 4, "base_model_name_or_path": str(base)})
        return adapter

    first, other = run("first"), run("other", b"trained further")
    known = manifest_of({"math": first})
    assert known != manifest_of({"math": other})
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "first", copy)
    assert base_of(copy / "02-math/model") == copy / "01-format/model"  # not the first run's, which is there as well
    assert manifest_of({"math": copy / "02-math/model"}) == known
    (tmp_path / "first").rename(tmp_path / "moved")
    assert manifest_of({"math": tmp_path / "moved/02-math/model"}) == known
    (copy / "resolved.json").unlink()  # no run: what the adapter says counts
    with pytest.raises(FileNotFoundError, match="base_model_name_or_path is .*first/01-format/model"):
        base_of(copy / "02-math/model")


def test_what_is_finished_gives_its_place_to_the_others() -> None:
    rows = [{"domain": name, "prompt": place} for place, name in enumerate(["math", "agent", "agent", "code", "math"])]
    got = unfinished(rows, {"math", "code"})
    assert [row["prompt"] for row in got] == [0, 3, 4, 0, 3]
    assert len({id(row) for row in got}) == 5  # each is given a sample of its own
    assert unfinished(rows, ()) == rows and unfinished(rows, set(NAMES)) == rows


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_a_checkpoint_keeps_to_its_teachers(tmp_path: Path, weights: str) -> None:
    folders = {}
    for name in ("math", "agent"):
        folders[name] = tmp_path / name
        folders[name].mkdir()
        (folders[name] / weights).write_bytes(name.encode())
        write_json(folders[name] / "config.json", {"vocab_size": 5})
    checkpoint = tmp_path / "checkpoints" / "checkpoint-5"
    write_json(checkpoint / "teacher_manifest.json", manifest_of(folders))
    elsewhere = folders["math"].rename(tmp_path / "moved")
    check_manifest(checkpoint, manifest_of(folders | {"math": elsewhere}))
    with pytest.raises(ValueError, match="another teacher 'agent' than"):
        check_manifest(checkpoint, manifest_of({"math": elsewhere}))
    with pytest.raises(ValueError, match="another teacher 'code' than"):
        check_manifest(checkpoint, manifest_of({"math": elsewhere, "agent": folders["agent"], "code": elsewhere}))
    (elsewhere / weights).write_bytes(b"trained further")
    with pytest.raises(ValueError, match="teacher_manifest.json: learned from another teacher 'math' than"):
        check_manifest(checkpoint, manifest_of(folders | {"math": elsewhere}))


def test_a_teacher_that_reads_tokens_otherwise_is_refused(tmp_path: Path) -> None:
    for name, text in (("student", "abab"), ("same", "abab"), ("other", "xyxyxyzz")):
        build_tokenizer([text], 400).save_pretrained(tmp_path / name)
    check_vocabularies(tmp_path / "student", {"math": tmp_path / "same"})
    with pytest.raises(ValueError, match=r"teacher_models.math: .* has \d+ tokens, .*; \d+ are not the same"):
        check_vocabularies(tmp_path / "student", {"teacher_models.math": tmp_path / "other"})
