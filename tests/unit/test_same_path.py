"""Engines that start one after the other find their models under one path; those that start together do not share it."""

import os
from pathlib import Path

from polymath.engine.same_path import same_path


def model(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    (folder / name / "config.json").write_text(name)
    return folder / name


def test_one_after_the_other_they_have_one_path_that_leads_to_each_ones_own(tmp_path: Path) -> None:
    paths, read = [], []
    for name in ("first", "second"):
        with same_path(model(tmp_path, name), tmp_path / "links") as path:
            paths.append(path)
            read.append((path / "config.json").read_text())
    assert paths[0] == paths[1] and read == ["first", "second"]


def test_at_the_same_time_each_has_its_own(tmp_path: Path) -> None:
    first, second = model(tmp_path, "first"), model(tmp_path, "second")
    with same_path(first, tmp_path / "links") as one, same_path(second, tmp_path / "links") as other:
        assert one != other
        assert [(path / "config.json").read_text() for path in (one, other)] == ["first", "second"]
    with same_path(second, tmp_path / "links") as again:
        assert again == one and (again / "config.json").read_text() == "second"


def test_a_process_that_dies_lets_go_of_it(tmp_path: Path) -> None:
    if (child := os.fork()) == 0:
        with same_path(model(tmp_path, "first"), tmp_path / "links"):
            os._exit(0)
    os.waitpid(child, 0)
    with same_path(model(tmp_path, "second"), tmp_path / "links") as path:
        assert path.name == "model-0" and (path / "config.json").read_text() == "second"


def test_where_no_link_can_be_made_it_is_the_folder_itself(tmp_path: Path) -> None:
    (tmp_path / "links").touch()
    with same_path(own := model(tmp_path, "first"), tmp_path / "links") as path:
        assert path == own
