from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imatch.core.errors import ConfigError, InputError
from imatch.core.io.files import safe_name
from imatch.pipeline.batch.pairs import BatchPair, check_pairs, name_pairs
from imatch.pipeline.pair.config import MatchConfig

DEFAULTS = MatchConfig()


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    paths = [tmp_path / f"{letter}.tif" for letter in "abc"]
    for path in paths:
        path.touch()
    return [str(path) for path in paths]


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.text(max_size=300))
def test_a_safe_name_is_one_file_in_its_folder_and_stays_itself(text: str) -> None:
    name = safe_name(text)
    assert 0 < len(name) <= 120
    assert Path("folder", f"{name}.json").parent == Path("folder")
    assert not name.startswith(".")
    assert safe_name(name) == name


def test_long_names_that_begin_alike_stay_apart() -> None:
    names = {safe_name("x" * 200 + end) for end in "ab"}
    assert len(names) == 2


def test_pairs_are_named_after_their_files() -> None:
    pairs = [
        BatchPair("", "ref/one.tif", "tgt/one.jp2"),
        BatchPair("", "ref/one.tif", "tgt/S2A.SAFE/"),
        BatchPair("mine", "a.tif", "b.tif"),
    ]
    assert [pair.name for pair in name_pairs(pairs)] == ["one", "one__S2A", "mine"]


def test_names_of_files_that_clash_depend_on_their_paths_alone() -> None:
    pairs = [BatchPair("", f"{place}/x.tif", f"{place}/y.tif") for place in ("p", "q")]
    names = [pair.name for pair in name_pairs(pairs)]
    assert len(set(names)) == 2
    assert all(name.startswith("x__y-") for name in names)
    assert [pair.name for pair in name_pairs(pairs[::-1])] == names[::-1]


def test_the_key_changes_with_the_files_and_the_settings(files: list[str]) -> None:
    pair = BatchPair("p", files[0], files[1])
    before = pair.key
    assert BatchPair("another", files[0], files[1]).key == before
    assert BatchPair("p", files[1], files[0]).key != before
    assert BatchPair("p", files[0], files[1], {"size": 512}).key != before
    os.utime(files[1], ns=(1, 1))
    assert pair.key != before
    # Other bytes, as many and as old; masks count as images do.
    keys = []
    for content in (b"ab", b"ba"):
        Path(files[1]).write_bytes(content)
        os.utime(files[1], ns=(1, 1))
        keys.append(pair.key)
    assert keys[0] != keys[1]
    masked = BatchPair("p", files[0], files[1], {"ref_mask": files[2]})
    before = masked.key
    Path(files[2]).write_bytes(b"another mask")
    assert masked.key != before


def test_all_missing_files_are_told_at_once(files: list[str], tmp_path: Path) -> None:
    pairs = [
        BatchPair("one", files[0], str(tmp_path / "gone.tif")),
        BatchPair("two", str(tmp_path / "lost.tif"), files[0]),
        BatchPair("three", files[0], files[1], {"ref_mask": str(tmp_path / "mask.gpkg")}),
        BatchPair("four", files[0], "https://example.org/b.tif"),
    ]
    with pytest.raises(InputError, match="3 of the images do not exist") as caught:
        check_pairs(pairs, DEFAULTS)
    for name in ("gone.tif", "lost.tif", "mask.gpkg"):
        assert name in str(caught.value)
    assert "example.org" not in str(caught.value)
    check_pairs(pairs[3:], DEFAULTS)


@pytest.mark.parametrize(
    ("names", "cause"),
    [
        (["a", "b", "A"], "1 name of pairs occur twice: a"),
        (["a/b"], "'a/b': is no name for files; .*such as a_b"),
        ([".hidden"], "is no name for files"),
        ([], "there are no pairs"),
    ],
)
def test_names_that_cannot_be(files: list[str], names: list[str], cause: str) -> None:
    with pytest.raises(InputError, match=cause):
        check_pairs([BatchPair(name, files[0], files[1]) for name in names], DEFAULTS)


def test_an_image_is_not_registered_to_itself(files: list[str], tmp_path: Path) -> None:
    link = tmp_path / "link.tif"
    link.symlink_to(files[0])
    with pytest.raises(InputError, match=r"a\.tif: is reference and target at once"):
        check_pairs([BatchPair("p", files[0], str(link))], DEFAULTS)


def test_a_wrong_setting_is_told_with_its_pair(files: list[str]) -> None:
    pair = BatchPair("p7", files[0], files[1], {"size": 3})
    with pytest.raises(ConfigError, match="pair p7: size"):
        check_pairs([pair], DEFAULTS)
    assert BatchPair("p", "a", "b", {"size": 640}).config(DEFAULTS).size == 640
