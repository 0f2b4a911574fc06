from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from imatch.core.errors import InputError
from imatch.pipeline.pair.config import MatchConfig
from imatch.pipeline.stack.images import find_reference, open_stack_images

MakeScene = Callable[..., Any]
CONFIG = MatchConfig()


def names(paths: list[Path]) -> list[str]:
    return [member.name for member in open_stack_images(paths, CONFIG)]


def test_images_stand_in_the_order_of_time_whatever_order_they_came_in(scene: MakeScene) -> None:
    paths = [
        scene(name, size=(40, 40)).path
        for name in ("b_20190402.tif", "undated.tif", "a_20190407.tif", "z_20160212.tif")
    ]
    expected = ["z_20160212", "b_20190402", "a_20190407", "undated"]
    assert names(paths) == expected
    assert names(paths[::-1]) == expected
    members = open_stack_images(paths, CONFIG)
    assert members[0].date == date(2016, 2, 12)
    assert members[3].date is None
    assert members[0].summary().width == 40
    assert members[0].summary().gsd_m == pytest.approx((10, 10))


def test_one_name_in_two_folders_is_told_apart(scene: MakeScene, tmp_path: Path) -> None:
    paths = []
    for folder in ("2018", "2019", "2019b"):
        (tmp_path / folder).mkdir()
        paths.append(scene(f"{folder}/B04.tif", size=(40, 40)).path)
    assert sorted(names(paths)) == ["2018_B04", "2019_B04", "2019b_B04"]


def test_names_are_file_names_everywhere(scene: MakeScene) -> None:
    odd = scene("ÄB 2018:1 (a).tif", size=(40, 40)).path
    assert names([odd, scene("b.tif", size=(40, 40)).path])[0].replace("_", "").isalnum()


def test_an_image_that_cannot_be_read_is_listed_with_the_cause(
    scene: MakeScene, tmp_path: Path
) -> None:
    broken = tmp_path / "broken_20190101.tif"
    broken.write_bytes(b"")
    good = [scene(name, size=(40, 40)).path for name in ("a_20180101.tif", "b_20200101.tif")]
    members = open_stack_images([broken, *good], CONFIG)
    assert [member.info is None for member in members] == [False, True, False]
    assert "empty" in members[1].error
    assert members[1].date == date(2019, 1, 1)
    with pytest.raises(InputError, match="empty"):
        find_reference(members, broken)


def test_one_image_is_no_stack(scene: MakeScene, tmp_path: Path) -> None:
    path = scene("a.tif", size=(40, 40)).path
    with pytest.raises(InputError, match="two images or more, and 1 can be read"):
        open_stack_images([path, tmp_path / "absent.tif"], CONFIG)


def test_an_image_is_named_once(scene: MakeScene, tmp_path: Path) -> None:
    path = scene("a.tif", size=(40, 40)).path
    with pytest.raises(InputError, match="named twice"):
        open_stack_images([path, tmp_path / "." / "a.tif"], CONFIG)


def test_the_reference_is_found_by_path_and_by_name(scene: MakeScene) -> None:
    paths = [scene(name, size=(40, 40)).path for name in ("a.tif", "b.tif")]
    members = open_stack_images(paths, CONFIG)
    assert [find_reference(members, name) for name in ("b", "b.tif", str(paths[1]))] == [1, 1, 1]
    with pytest.raises(InputError, match="not among the images; name one of them, such as a"):
        find_reference(members, "c.tif")
