"""Register satellite images across seasons, sensors and years, and say how far to trust the answer.

Everything here is imported when first used, so that ``import imatch`` costs next to nothing.

Every verb of the command line is a function here that takes what the verb takes, as keyword
options. Settings of a match are such options too, or one object, `MatchConfig`.

Example:
    >>> import imatch
    >>> found = imatch.match("august.tif", "november.tif")  # doctest: +SKIP
    >>> print(found.status, found.shift_m, found.ce90_m)  # doctest: +SKIP
    >>> found.apply("november.tif", "november_registered.tif")  # doctest: +SKIP
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from imatch._version import __version__
from imatch.core.errors import ImatchError

if TYPE_CHECKING:
    from imatch.benchmark.report import bench
    from imatch.matchers import load_matcher
    from imatch.pipeline.pair.config import MatchConfig
    from imatch.pipeline.pair.match import match
    from imatch.pipeline.registration.io import read_registration
    from imatch.pipeline.registration.result import Registration
    from imatch.pipeline.scene.config import SceneConfig
    from imatch.retrieval.duplicates.find import find_duplicates
    from imatch.retrieval.embedders.registry import load_embedder
    from imatch.retrieval.index.build import build_index
    from imatch.retrieval.locate import open_index, search
    from imatch.retrieval.same import same_ground
    from imatch.workflows.apply import apply
    from imatch.workflows.batch import batch
    from imatch.workflows.register import register
    from imatch.workflows.stack import stack
    from imatch.workflows.view import view

# OpenBLAS, of which numpy, scipy and OpenCV each bring one, lets its idle threads spin for 2 to
# this many processor cycles before they sleep: a tenth of a second a library at its default, 26.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "20")
# Torch's threads wait for each other awake: on two cores that are busy besides, the networks of a
# pair then take ten times the processor time. Asleep they take no longer on idle ones.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

__all__ = [
    "ImatchError",
    "MatchConfig",
    "Registration",
    "SceneConfig",
    "__version__",
    "apply",
    "batch",
    "bench",
    "build_index",
    "find_duplicates",
    "load_embedder",
    "load_matcher",
    "match",
    "open_index",
    "read_registration",
    "register",
    "same_ground",
    "search",
    "stack",
    "view",
]

_LAZY = {
    "MatchConfig": "imatch.pipeline.pair.config",
    "Registration": "imatch.pipeline.registration.result",
    "SceneConfig": "imatch.pipeline.scene.config",
    "apply": "imatch.workflows.apply",
    "batch": "imatch.workflows.batch",
    "bench": "imatch.benchmark.report",
    "build_index": "imatch.retrieval.index.build",
    "find_duplicates": "imatch.retrieval.duplicates.find",
    "load_embedder": "imatch.retrieval.embedders.registry",
    "load_matcher": "imatch.matchers",
    "match": "imatch.pipeline.pair.match",
    "open_index": "imatch.retrieval.locate",
    "read_registration": "imatch.pipeline.registration.io",
    "register": "imatch.workflows.register",
    "same_ground": "imatch.retrieval.same",
    "search": "imatch.retrieval.locate",
    "stack": "imatch.workflows.stack",
    "view": "imatch.workflows.view",
}


if not TYPE_CHECKING:  # Else a type checker would believe in every name.

    def __getattr__(name: str) -> Any:
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_LAZY[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
