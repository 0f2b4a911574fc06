from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import cv2
import pytest

from imatch.core.opencv import without_opencv_threads


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    yield
    cv2.setNumThreads(before)


@pytest.mark.usefixtures("two_threads")
def test_threads_come_back_after_the_block() -> None:
    with without_opencv_threads():
        assert cv2.getNumThreads() == 1
        with without_opencv_threads():
            assert cv2.getNumThreads() == 1
        assert cv2.getNumThreads() == 1
    assert cv2.getNumThreads() == 2


@pytest.mark.usefixtures("two_threads")
def test_they_come_back_after_an_error() -> None:
    with pytest.raises(ValueError, match="within"), without_opencv_threads():
        raise ValueError("within")
    assert cv2.getNumThreads() == 2


@pytest.mark.usefixtures("two_threads")
def test_blocks_of_several_threads_overlap() -> None:
    begun, first_ended = Barrier(2), Barrier(2)

    def first() -> int:
        with without_opencv_threads():
            begun.wait()
        seen = cv2.getNumThreads()
        first_ended.wait()
        return seen

    def second() -> int:
        with without_opencv_threads():
            begun.wait()
            first_ended.wait()
            return cv2.getNumThreads()

    with ThreadPoolExecutor(2) as pool:
        seen = [future.result() for future in (pool.submit(first), pool.submit(second))]
    assert seen == [1, 1]
    assert cv2.getNumThreads() == 2
