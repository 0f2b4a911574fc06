"""OpenCV without threads of its own, where images are small."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import cv2

_lock = Lock()
_inside = 0
_before = 1


@contextmanager
def without_opencv_threads() -> Iterator[None]:
    """Keeps OpenCV to the threads that call it inside the block, in the whole process.

    Its own wait awake for their share of every call, which on images of some dozen pixels is most
    of what they do. Blocks may overlap; the last to end gives the threads back.
    """
    global _inside, _before
    with _lock:
        if _inside == 0:
            _before = cv2.getNumThreads()
            cv2.setNumThreads(1)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                cv2.setNumThreads(_before)
