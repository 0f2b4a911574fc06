from __future__ import annotations

import errno
import logging
import multiprocessing
import os
import pickle
import signal
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from imatch.core.errors import OutputError
from imatch.core.types import Features, Rendered
from imatch.matchers.base import DEFAULTS, MatcherOptions
from imatch.matchers.feature_cache import FeatureCache
from imatch.matchers.nearest import Nearest
from imatch.matchers.registry import load_matcher
from imatch.matchers.sift import SiftExtractor
from imatch.matchers.sparse import Extractor, Sparse

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
def cache(tmp_path: Path) -> Iterator[FeatureCache]:
    made = FeatureCache(tmp_path / "features")
    yield made
    made.close()


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
    again.close()


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


def test_corrupt_features_are_computed_again(
    cache: FeatureCache, caplog: pytest.LogCaptureFixture
) -> None:
    large = with_options(3000)  # Large ones lie in files of their own.
    first = ask(cache, large)
    (file,) = cache.folder.rglob("*.val")
    spoilt = bytearray(file.read_bytes())
    for change in ("flip", "cut", "gone"):
        if change == "flip":
            spoilt[len(spoilt) // 2] ^= 1
            file.write_bytes(bytes(spoilt))
        elif change == "cut":
            file.write_bytes(file.read_bytes()[:1000])
        else:
            file.unlink()
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            again = ask(cache, large)
        np.testing.assert_array_equal(again.xy, first.xy)
        assert ("corrupt" in caplog.text) == (change != "gone")
        (file,) = cache.folder.rglob("*.val")
    assert (cache.computed, cache.found) == (4, 0)


def test_nothing_is_ever_unpickled(cache: FeatureCache, tmp_path: Path) -> None:
    marker = tmp_path / "run"

    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(marker),)

    ask(cache, with_options())
    with sqlite3.connect(cache.place / "cache.db") as database:
        database.execute("UPDATE Cache SET mode = 4, value = ?", (pickle.dumps(Trap()),))
    database.close()
    ask(cache, with_options())
    assert cache.computed == 2
    assert not marker.exists()


def test_a_corrupt_index_begins_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # A folder with files of the user's own, which may be called as ours are.
    folder = tmp_path / "features"
    theirs = [folder / "cache.db", folder / "images" / "2018.tif", folder / "locks" / "00.lock"]
    for path in theirs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no database" * 1000)
    cache = FeatureCache(folder)
    cache.place.mkdir()
    (cache.place / "cache.db").write_bytes(b"no database" * 1000)
    (cache.place / "stale.val").touch()
    with caplog.at_level(logging.WARNING):
        ask(cache, with_options())
        ask(cache, with_options())
    assert caplog.text.count("begins anew") == 1
    assert (cache.computed, cache.found) == (1, 1)
    assert not (cache.place / "stale.val").exists()
    for path in theirs:
        assert path.read_bytes() == b"no database" * 1000
    cache.close()


def test_what_is_used_least_goes_first(tmp_path: Path) -> None:
    extractor = with_options(3000)  # 130 kB each.
    cache = FeatureCache(tmp_path / "features", limit=1_000_000)
    for number in range(20):
        ask(cache, extractor, b"%d" % number)
        ask(cache, extractor, b"0")
    cache.prepare()
    assert cache.volume <= 1_000_000
    assert 2 <= len(cache) < 10
    before = cache.computed
    ask(cache, extractor, b"0")
    ask(cache, extractor, b"19")
    assert cache.computed == before
    ask(cache, extractor, b"1")
    assert cache.computed == before + 1
    cache.close()


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
    for one in others:
        one.close()


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
        pytest.importorskip("kornia")
        from imatch.core.errors import WeightsError

        try:
            auto = load_matcher("auto", cache=cache)
        except WeightsError:
            pytest.skip("no weights on this machine")
        keypoints = getattr(auto, "_keypoints", None)
        if keypoints is None:
            pytest.skip("no weights on this machine")
        assert keypoints.options.cache is cache
