"""Registry of matchers; imports no network library."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from imatch.core.errors import MatcherError
from imatch.core.registry import Registry, Row

if TYPE_CHECKING:
    from imatch.matchers.base import Matcher

Kind: TypeAlias = Literal["cascade", "sparse", "dense", "area"]


@dataclass(frozen=True)
class MatcherRow(Row):
    """A row of the registry of matchers.

    Attributes:
        kind: ``sparse`` (keypoints), ``dense`` (a grid of cells, no detector), ``area``
            (correlation of windows) or ``cascade``: no matcher but a registrar over several, see
            `imatch.pipeline.pair.registrar`.
        weights: Names of the checkpoints it needs, keys of `imatch.models.weights.WEIGHTS`.
        licence: Licence of the method's code and weights, the most restrictive of them.
        summary: What it is good for, in a few words.
        refined: Whether the pipeline pulls its answer tight by local correlation unless told
            otherwise.
    """

    kind: Kind
    weights: tuple[str, ...]
    licence: str
    summary: str
    refined: bool = False


MATCHERS: Registry[MatcherRow] = Registry(
    "matcher",
    [
        # A cascade over the others: it lives with the pipeline, to the right of this room, and is
        # named here so that every list of matchers shows it.
        MatcherRow(
            "auto",
            "imatch.pipeline.pair.auto:Auto",
            "cascade",
            ("superpoint-s2", "loftr-s2"),
            "Apache-2.0",
            "the default: correlation, then learnt matchers, until the answer is certain",
        ),
        MatcherRow(
            "aliked-lightglue",
            "imatch.matchers.sparse.aliked:AlikedLightGlue",
            "sparse",
            ("aliked-n16", "aliked-lightglue"),
            "BSD-3-Clause",
            "across seasons and sensors; the usual choice",
        ),
        MatcherRow(
            "disk-lightglue",
            "imatch.matchers.sparse.disk:DiskLightGlue",
            "sparse",
            ("disk-depth", "disk-lightglue"),
            "Apache-2.0",
            "many keypoints; slower",
        ),
        MatcherRow(
            "xfeat-lighterglue",
            "imatch.matchers.sparse.xfeat:XFeatLighterGlue",
            "sparse",
            ("xfeat", "xfeat-lighterglue"),
            "Apache-2.0",
            "fast on a CPU",
        ),
        MatcherRow(
            "xfeat",
            "imatch.matchers.sparse.xfeat:XFeatNearest",
            "sparse",
            ("xfeat",),
            "Apache-2.0",
            "fastest network; mutual nearest neighbours",
        ),
        MatcherRow(
            "superpoint-s2",
            "imatch.matchers.sparse.superpoint:SeasonsNearest",
            "sparse",
            ("superpoint-s2",),
            "Apache-2.0",
            "SuperPoint trained on Sentinel-2's seasons; mutual nearest neighbours",
        ),
        MatcherRow(
            "superpoint-s2-lightglue",
            "imatch.matchers.sparse.superpoint:SeasonsLightGlue",
            "sparse",
            ("superpoint-s2", "aliked-lightglue"),
            "Apache-2.0",
            "the same keypoints, paired by ALIKED's LightGlue",
        ),
        MatcherRow(
            "superpoint",
            "imatch.matchers.sparse.superpoint:SuperPointNearest",
            "sparse",
            ("superpoint-v1",),
            "Magic Leap, non-commercial research only",
            "the classic; mutual nearest neighbours; weights from a file you name",
        ),
        MatcherRow(
            "superpoint-lightglue",
            "imatch.matchers.sparse.superpoint:SuperPointLightGlue",
            "sparse",
            ("superpoint-v1", "superpoint-lightglue"),
            "Magic Leap, non-commercial research only",
            "the classic; weights from a file you name",
        ),
        MatcherRow(
            "loftr",
            "imatch.matchers.dense.loftr:LoFTRMatcher",
            "dense",
            ("loftr-outdoor",),
            "Apache-2.0",
            "no detector: finds points on weak texture",
        ),
        MatcherRow(
            "loftr-s2",
            "imatch.matchers.dense.loftr_s2:LoFTRS2",
            "dense",
            ("loftr-s2",),
            "Apache-2.0",
            "LoFTR trained on Sentinel-2's seasons; no detector",
            refined=True,
        ),
        MatcherRow(
            "sift",
            "imatch.matchers.sparse.sift:Sift",
            "sparse",
            (),
            "Apache-2.0",
            "no weights; same season, any rotation and scale",
        ),
        MatcherRow(
            "phase",
            "imatch.matchers.dense.phase:Phase",
            "area",
            (),
            "Apache-2.0",
            "no weights; small shifts of images already aligned, to a fraction of a pixel",
        ),
    ],
    group="imatch.matchers",
)
"""All matchers by name; other packages add rows with the entry-point group ``imatch.matchers``."""


def load_matcher(name: str, **options: Any) -> Matcher:
    """Make a matcher that is ready to run.

    Args:
        name: A row of `MATCHERS`, but for cascades, which register.
        **options: Fields of `imatch.matchers.base.MatcherOptions`: ``max_keypoints``, ``device``,
            ``seed``, ``weights`` (checkpoint name to file), ``fetch``, ``max_side``, ``cache``.

    Returns:
        The matcher, with its weights found and verified; networks are built on first use.

    Raises:
        MatcherError: There is no such matcher, option or device.
        WeightsError: A checkpoint is missing or corrupt.

    Examples:
        >>> import numpy as np
        >>> from imatch.matchers import load_matcher
        >>> image = np.random.default_rng(0).random((128, 128), dtype=np.float32)
        >>> matches = load_matcher("phase")(image, image)
        >>> len(matches) > 0 and bool(np.allclose(matches.ref_xy, matches.tgt_xy, atol=0.1))
        True
    """
    row = MATCHERS[name]
    if row.kind == "cascade":
        raise MatcherError(
            "registers by several matchers and is none",
            subject=name,
            hint="call imatch.match, or load a single matcher",
        )
    from imatch.matchers.base import MatcherOptions

    known = [field.name for field in fields(MatcherOptions)]
    for option in options:
        if option not in known:
            raise MatcherError(
                "unknown matcher option", subject=option, hint=f"choose from {', '.join(known)}"
            )
    matcher: Matcher = row.load()(MatcherOptions(**options))
    matcher.prepare()
    return matcher
