from __future__ import annotations

import errno
import logging
import multiprocessing
import os
import pickle
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import Field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save

from imatch.core.errors import MatcherError, OutputError
from imatch.core.types import Features, Rendered
from imatch.matchers import feature_cache
from imatch.matchers.base import DEFAULTS, MatcherOptions
from imatch.matchers.feature_cache import FeatureCache, _key
from imatch.matchers.registry import load_matcher
from imatch.matchers.sparse.base import Extractor, Sparse
from imatch.matchers.sparse.nearest import Nearest
from imatch.matchers.sparse.sift import SiftExtractor
from imatch.models.superpoint.points import Decoding
from imatch.pipeline.pair.auto import Auto
from imatch.pipeline.pair.config import MatchConfig
from imatch.pipeline.pair.registrar import load_registrar

if TYPE_CHECKING:
    from tests.matchers.conftest import Landscape


class Stub(Extractor):
    """As many keypoints as its budget, without looking."""

    channels = 1
    strength = 1.0

    def extract(self, image: Rendered) -> Features:
        n = self.options.max_keypoints
        xy = np.arange(2 * n, dtype=np.float32).reshape(n, 2)
        return Features(xy, xy[:, 0], np.ones((n, 8), np.float32), image.size)


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "features")


def ask(cache: FeatureCache, extractor: Extractor, digest: bytes = b"image") -> Features:
    image = Rendered(np.zeros((1, 20, 30), np.float32), np.ones((20, 30), bool))
    return cache.features(extractor, digest, lambda: extractor.extract(image))


def with_options(max_keypoints: int = 16, seed: int = 0, fetch: bool = False) -> Stub:
    return Stub(MatcherOptions(max_keypoints, seed=seed, fetch=fetch))


def test_features_come_back_to_the_bit(cache: FeatureCache, landscape: Landscape) -> None:
    image, extractor = landscape((96, 80), channels=1), SiftExtractor()
    first = cache.features(extractor, b"i", lambda: extractor.extract(image))
    assert (cache.computed, cache.found) == (1, 0)
    again = pickle.loads(pickle.dumps(cache))  # noqa: S301 - as a worker gets it.
    back = again.features(extractor, b"i", pytest.fail)
    assert (again.computed, again.found) == (0, 1)
    assert back.size == first.size == (96, 80)
    for name in ("xy", "scores", "descriptors", "scales", "angles"):
        one, other = getattr(first, name), getattr(back, name)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    assert ask(cache, Stub()).scales is None
    assert len(cache) == 2
    assert cache.clear() == 2
    assert len(cache) == cache.volume == 0


def test_whatever_decides_the_features_decides_the_key(cache: FeatureCache) -> None:
    ask(cache, with_options())
    another = with_options()
    another.strength = 2.0
    stranger = type("Stranger", (Stub,), {})(MatcherOptions(16))
    for other in (
        with_options(seed=1),
        with_options(17),
        another,
        stranger,
    ):
        before = cache.computed
        ask(cache, other)
        assert cache.computed == before + 1
    ask(cache, with_options(), b"another image")
    assert (cache.computed, cache.found) == (6, 0)
    ask(cache, with_options(fetch=True))
    assert (cache.computed, cache.found) == (6, 1)


def test_weights_decide_too(cache: FeatureCache, monkeypatch: pytest.MonkeyPatch) -> None:
    for digest in ("aa", "bb"):
        monkeypatch.setattr(Stub, "weights_used", {"net": digest})
        ask(cache, with_options())
    assert cache.computed == 2


def file_of(cache: FeatureCache) -> Path:
    (file,) = cache.place.glob("*.features")
    return file


@pytest.mark.parametrize("change", ["flip", "cut", "empty", "other", "link", "long", "gone"])
def test_corrupt_features_are_computed_again(
    cache: FeatureCache, tmp_path: Path, caplog: pytest.LogCaptureFixture, change: str
) -> None:
    first = ask(cache, with_options())
    file = file_of(cache)
    content = file.read_bytes()
    if change == "flip":
        file.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    elif change in ("cut", "empty"):
        file.write_bytes(content[:100] if change == "cut" else b"")
    elif change == "other":
        shutil.move(file, tmp_path / "kept")
        ask(cache, with_options(), b"another image")
        shutil.move(file_of(cache), file)
    elif change == "link":
        shutil.move(file, tmp_path / "kept")
        file.symlink_to(tmp_path / "kept")
    elif change == "long":
        with file.open("r+b") as opened:
            opened.truncate(10**13)  # A hole, and more than any memory.
    else:
        file.unlink()
    before = cache.computed
    with caplog.at_level(logging.WARNING):
        again = ask(cache, with_options())
    np.testing.assert_array_equal(again.xy, first.xy)
    assert caplog.text.count("were corrupt") == (change != "gone")
    assert (cache.computed, cache.found) == (before + 1, 0)
    assert file.read_bytes() == content
    assert not file.is_symlink()
    if change == "link":
        assert (tmp_path / "kept").read_bytes() == content


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"xy": np.zeros((3, 2), np.float32)},
        {"xy": np.zeros((3, 2)), "scores": np.zeros(2), "descriptors": np.zeros((3, 8))},
        {"xy": np.zeros((3, 3)), "scores": np.zeros(3), "descriptors": np.zeros((3, 8))},
        {"xy": np.zeros((3, 2)), "scores": np.zeros(3), "descriptors": np.zeros((2, 8))},
        {"xy": np.zeros((3, 2)), "scores": np.zeros(3), "descriptors": np.zeros((3, 8, 1))},
    ],
)
def test_whole_files_that_hold_something_else(
    cache: FeatureCache, arrays: dict[str, NDArray[np.float32]]
) -> None:
    ask(cache, with_options())
    file = file_of(cache)
    body = save(arrays | {"size": np.array((30, 20))})
    file.write_bytes(feature_cache._checksum(file.stem, body) + body)
    assert len(ask(cache, with_options())) == 16
    assert cache.computed == 2


def test_nothing_but_its_own_files_is_touched(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "features", limit=20_000)
    ask(cache, with_options())
    own = file_of(cache)
    theirs = [
        tmp_path / "features" / own.name,
        cache.place / "2018.tif",
        cache.place / "cache.db",
        cache.place / own.name.upper(),
        cache.place / f"x{own.name}",
        cache.place / f"{own.name}.txt",
        cache.place / "locks" / own.name,
    ]
    outside = tmp_path / "outside.features"
    for path in (*theirs, outside):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"precious" * 10_000)
        os.utime(path, (0, 0))
    # As ours are called, but links and folders.
    for number, target in enumerate(("../../outside.features", "..", "nowhere")):
        (cache.place / f"{number:040x}.features").symlink_to(target)
    (cache.place / f"{9:040x}.features").mkdir()
    shape = _modes(cache.place)
    for number in range(20):
        ask(cache, with_options(100), b"%d" % number)
    cache.prepare()
    assert 0 < cache.volume <= 20_000
    cache.clear()
    for path in (*theirs, outside):
        assert path.read_bytes() == b"precious" * 10_000
        assert path.stat().st_mtime == 0
    del shape[own]
    assert _modes(cache.place) == shape


def _modes(folder: Path) -> dict[Path, int]:
    return {p: p.lstat().st_mode for p in folder.iterdir() if p.suffix != ".lock"}


@pytest.mark.parametrize("part", ["place", "lock"])
def test_links_are_not_followed(
    cache: FeatureCache, tmp_path: Path, caplog: pytest.LogCaptureFixture, part: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    if part == "place":
        cache.folder.mkdir()
        cache.place.symlink_to(elsewhere)
        with pytest.raises(OutputError, match="is a symbolic link"):
            cache.prepare()
    else:
        cache.place.mkdir(parents=True)
        (elsewhere / "precious").write_text("precious")
        for number in range(256):
            (cache.place / f"{number:02x}.lock").symlink_to(elsewhere / "precious")
    with caplog.at_level(logging.WARNING):
        assert len(ask(cache, with_options())) == 16
    assert "no lock" in caplog.text
    texts = [path.read_text() for path in elsewhere.iterdir()]
    assert texts == ([] if part == "place" else ["precious"])


def test_what_was_left_half_written_goes_too(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "features", limit=20_000)
    ask(cache, with_options())
    left = file_of(cache).with_suffix(".0123abcd.part")
    left.write_bytes(bytes(19_990))
    os.utime(left, (0, 0))
    assert len(cache) == 1
    cache.prepare()
    assert not left.exists()
    assert len(cache) == 1


def test_others_may_read_what_is_shared(cache: FeatureCache) -> None:
    before = os.umask(0o022)
    try:
        ask(cache, with_options())
    finally:
        os.umask(before)
    assert file_of(cache).stat().st_mode & 0o777 == 0o644


def test_what_is_used_least_goes_first(tmp_path: Path) -> None:
    extractor = with_options(3000)  # 130 kB each.
    cache = FeatureCache(tmp_path / "features", limit=1_000_000)
    for number in range(20):
        ask(cache, extractor, b"%d" % number)
        ask(cache, extractor, b"0")
        assert cache.volume <= 1_000_000
    assert 2 <= len(cache) < 10
    before = cache.computed
    ask(cache, extractor, b"0")
    ask(cache, extractor, b"19")
    assert cache.computed == before
    ask(cache, extractor, b"1")
    assert cache.computed == before + 1


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = FeatureCache(tmp_path / "file" / "features")
    with pytest.raises(OutputError, match=r"cannot hold a cache .*--no-cache"):
        cache.prepare()
    # Trouble later costs time only.
    assert len(ask(cache, with_options())) == 16
    assert cache.computed == 1


def test_of_several_that_want_one_image_one_extracts_it(cache: FeatureCache) -> None:
    cache.prepare()

    class Slow(Stub):
        def extract(self, image: Rendered) -> Features:
            time.sleep(0.3)
            return super().extract(image)

    others = [FeatureCache(cache.folder) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda one: ask(one, Slow(DEFAULTS)), others))
    assert sum(one.computed for one in others) == 1
    assert sum(one.found for one in others) == 3


def test_without_locks_it_works_and_says_so_once(
    cache: FeatureCache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_lock(path: Path, timeout: float) -> None:
        raise OSError(errno.ENOLCK, f"no locks for {path.name} in {timeout} s")

    monkeypatch.setattr("imatch.matchers.feature_cache.FileLock", no_lock)
    with caplog.at_level(logging.WARNING):
        for digest in (b"one", b"two", b"one"):
            ask(cache, with_options(), digest)
    assert caplog.text.count("others may extract the same features") == 1
    assert (cache.computed, cache.found, len(cache)) == (2, 1, 2)


def _hold(folder: Path) -> None:
    """Be killed while extracting."""

    def extract() -> Features:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("unreachable")

    FeatureCache(folder).features(with_options(), b"image", extract)


def test_a_killed_process_blocks_nobody(cache: FeatureCache) -> None:
    # Forked: the module of a test cannot be imported by a fresh interpreter.
    process = multiprocessing.get_context("fork").Process(target=_hold, args=(cache.folder,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    started = time.monotonic()
    assert len(ask(cache, with_options())) == 16
    assert time.monotonic() - started < 5
    assert len(cache) == 1


class TestSparse:
    def test_two_matchers_share_an_image(self, cache: FeatureCache, landscape: Landscape) -> None:
        ref, tgt = landscape((96, 80)), landscape((96, 80), shift=(1, 0))
        plain = load_matcher("sift").match(ref, tgt)
        for _ in range(2):
            found = load_matcher("sift", cache=cache).match(ref, tgt)
            np.testing.assert_array_equal(found.ref_xy, plain.ref_xy)
            np.testing.assert_array_equal(found.scores, plain.scores)
        assert (cache.computed, cache.found) == (2, 2)

    def test_memory_comes_first(self, cache: FeatureCache, landscape: Landscape) -> None:
        options = MatcherOptions(cache=cache)
        matcher = Sparse(options, extractor=SiftExtractor(options), pairing=Nearest(options))
        ref = landscape((96, 80))
        for shift in range(1, 4):
            matcher.match(ref, landscape((96, 80), shift=(shift, 0)))
        assert (cache.computed, cache.found) == (4, 0)

    def test_the_cascade_hands_it_to_its_keypoints(self, cache: FeatureCache) -> None:
        auto = load_registrar(MatchConfig(), cache=cache)
        assert isinstance(auto, Auto)
        assert auto._matcher("superpoint-s2").options.cache is cache


class Many(Stub):
    """Has settings of every kind."""

    def __init__(self, options: MatcherOptions = DEFAULTS, **settings: object) -> None:
        super().__init__(options)
        vars(self).update(settings)


_SETTINGS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from("abc"), _SETTINGS), st.sampled_from("abc"), _SETTINGS)
def test_any_setting_of_an_extractor_changes_the_key(
    told: dict[str, Any], name: str, value: object
) -> None:
    one, other = Many(**told), Many(**{**told, name: value})
    same = name in told and repr(told[name]) == repr(value)
    assert (_key(one, b"image") == _key(other, b"image")) == same or told.get(name) == value


def test_decodings_arrays_and_files_are_settings(tmp_path: Path) -> None:
    kept = {_key(Many(), b"image")}
    for value in (
        Decoding(), Decoding(threshold=0.0), Decoding(window=3), tmp_path, tmp_path / "a",
        np.zeros(3), np.zeros(4), np.ones(3), np.zeros(3, np.float32), frozenset("ab"),
    ):  # fmt: skip
        kept.add(_key(Many(decoding=value), b"image"))
    assert len(kept) == 11


@pytest.mark.parametrize("value", [object(), print, iter(())])
def test_a_setting_that_cannot_be_told_apart_is_refused(value: object) -> None:
    with pytest.raises(MatcherError, match=r"Many.decoding: is a .*--no-cache"):
        _key(Many(decoding=value), b"image")
    _key(Many(_decoding=value), b"image")


@pytest.mark.parametrize("field", fields(MatcherOptions), ids=lambda field: field.name)
def test_options_of_an_extractor_are_in_the_key(field: Field[object], tmp_path: Path) -> None:
    values = {"max_keypoints": 99, "seed": 3, "max_side": 500, "fetch": True, "device": "cpu"}
    value = {"cache": FeatureCache(tmp_path), "weights": {"a": "b"}, **values}[field.name]
    changed: dict[str, Any] = {field.name: value}
    other = Many(replace(DEFAULTS, **changed))
    same = _key(other, b"image") == _key(Many(), b"image")
    assert same == (field.name in {"fetch", "cache", "device", "weights"})


def test_extractors_that_decode_differently_share_nothing() -> None:
    superpoint = pytest.importorskip("imatch.matchers.sparse.superpoint")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(superpoint.SuperPointExtractor, "weights_used", {"superpoint-v1": "00"})
        keys = {
            _key(kind().extractor, b"image")
            for kind in (superpoint.SuperPointNearest, superpoint.SuperPointLightGlue)
        }
    assert len(keys) == 2
