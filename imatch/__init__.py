"""Register satellite images across seasons, sensors and years, and say how far to trust the answer.

Everything here is imported when first used, so that ``import imatch`` costs next to nothing.

Example:
    >>> import imatch
    >>> result = imatch.match("august.tif", "november.tif")  # doctest: +SKIP
    >>> print(result.status, result.shift_m, result.ce90_m)  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from imatch._version import __version__
from imatch.core.errors import ImatchError

if TYPE_CHECKING:
    from imatch.matchers import load_matcher
    from imatch.pipeline.apply.files import apply_files
    from imatch.pipeline.pair.config import MatchConfig
    from imatch.pipeline.pair.match import match
    from imatch.pipeline.registration.result import Registration
    from imatch.pipeline.scene.config import SceneConfig
    from imatch.pipeline.scene.register import register
    from imatch.retrieval.duplicates.find import duplicates_among
    from imatch.retrieval.index.build import index_images
    from imatch.retrieval.locate import locate_image
    from imatch.retrieval.same import compare_images
    from imatch.workflows.batch import register_batch
    from imatch.workflows.register import register_files
    from imatch.workflows.stack import register_stack

__all__ = [
    "ImatchError",
    "MatchConfig",
    "Registration",
    "SceneConfig",
    "__version__",
    "apply_files",
    "compare_images",
    "duplicates_among",
    "index_images",
    "load_matcher",
    "locate_image",
    "match",
    "register",
    "register_batch",
    "register_files",
    "register_stack",
]

_LAZY = {
    "MatchConfig": "imatch.pipeline.pair.config",
    "Registration": "imatch.pipeline.registration.result",
    "SceneConfig": "imatch.pipeline.scene.config",
    "apply_files": "imatch.pipeline.apply.files",
    "compare_images": "imatch.retrieval.same",
    "duplicates_among": "imatch.retrieval.duplicates.find",
    "index_images": "imatch.retrieval.index.build",
    "load_matcher": "imatch.matchers",
    "locate_image": "imatch.retrieval.locate",
    "match": "imatch.pipeline.pair.match",
    "register": "imatch.pipeline.scene.register",
    "register_batch": "imatch.workflows.batch",
    "register_files": "imatch.workflows.register",
    "register_stack": "imatch.workflows.stack",
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
