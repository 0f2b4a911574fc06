"""Result of a stack and its JSON document."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import date
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from imatch.core.io.jsontext import json_values
from imatch.core.redaction import redacted
from imatch.geometry.acceptance import Status
from imatch.pipeline.registration.result import Registration

if TYPE_CHECKING:
    from xarray import DataArray

    from imatch.raster.sampling.interpolation import Resampling

SCHEMA = "imatch.stack/1"
#: ``counts``: the solution rests on it. ``aside``: it contradicts the solution, and is switched
#: off. ``unconfirmed``: not sure of itself, and no loop confirms it. ``unused``: it gave no
#: transform, or joins images that nothing ties to the reference.
Verdict: TypeAlias = Literal["counts", "aside", "unconfirmed", "unused"]


@dataclass(frozen=True, eq=False)
class StackImage:
    """An image of a solved stack.

    Attributes:
        name: Unlike every other's.
        path: The file.
        date: When it was taken, None where nothing tells.
        registration: It onto the reference, from all pairs together.
        pairs: Pairs with it that were tried.
        counting: Those that count.
        aside: Those that contradict the solution.
        ways: Ways to the reference through sure pairs that share no pair: how many of them would
            have to be wrong at once.
        copy_of: Name of the image whose pixels it repeats, None for one of its own.
    """

    name: str
    path: str
    date: date | None
    registration: Registration
    pairs: int = 0
    counting: int = 0
    aside: int = 0
    ways: float = 0.0
    copy_of: str | None = None

    @property
    def status(self) -> Status:
        """``ok``, ``uncertain`` or ``failed``: not tied."""
        return self.registration.status

    @property
    def reason(self) -> str:
        """One sentence saying why."""
        return self.registration.reason


@dataclass(frozen=True)
class StackPair:
    """A pair of a stack; NaN is what is unknown.

    Attributes:
        reference: Name of its reference image.
        target: Name of its target image.
        status: What the pair says of itself.
        reason: Why.
        verdict: What the solution makes of it.
        stated_px: Standard deviation it states in all, over the overlap, target pixels.
        chance_px: The part of it that is chance: the other, appearance and bent ground, no loop
            checks and no number of pairs averages out.
        residual_px: RMS distance of what it says from the solution, target pixels.
        residual_m: The same in metres.
        misfit: The same squared and weighed, over its expectation: about 1 for a right pair.
        checked: Share of it that other pairs check, 0 to 1.
        seconds: How long it took.
    """

    reference: str
    target: str
    status: Status
    reason: str
    verdict: Verdict
    stated_px: float = math.nan
    chance_px: float = math.nan
    residual_px: float = math.nan
    residual_m: float = math.nan
    misfit: float = math.nan
    checked: float = math.nan
    seconds: float = math.nan


@dataclass(frozen=True)
class StackLoop:
    """Closure of a loop of pairs.

    Attributes:
        images: Names in order; the last pair leads back to the first.
        closure_px: RMS distance from the beginning, pixels of the first image.
        closure_m: The same in metres, NaN where unknown.
        counts: Whether all of its pairs count in the solution.
    """

    images: tuple[str, ...]
    closure_px: float
    closure_m: float
    counts: bool


@dataclass(frozen=True, eq=False)
class Stack:
    """Registrations of all images of a stack, with pairs and loops.

    Attributes:
        reference: Name of the image the others are laid on.
        model: Family of the images' maps.
        on_map: Whether the maps correct geocoding; else they lead from pixels to pixels.
        images: In the order of time, then of names.
        pairs: Every pair that was tried.
        loops: A basis of all loops of sure pairs, before the adjustment, the worst first.
        scatter_px: Standard deviation by which pairs disagree beyond what they state.
        scatter_m: The same in metres, NaN where unknown.
        chi_squared: Weighted sum of squared residuals.
        freedom: Its degrees of freedom; 0 where no loop checks anything.
        seconds: Wall time.
        provenance: Configuration, choice of pairs, versions.
    """

    reference: str
    model: str
    on_map: bool
    images: tuple[StackImage, ...]
    pairs: tuple[StackPair, ...]
    loops: tuple[StackLoop, ...]
    scatter_px: float
    scatter_m: float
    chi_squared: float
    freedom: int
    seconds: float
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def untied(self) -> list[StackImage]:
        """Images that could not be tied to the reference."""
        return [image for image in self.images if image.status == "failed"]

    @property
    def sure(self) -> bool:
        """Whether every image is ok."""
        return all(image.status == "ok" for image in self.images)

    def warp(
        self,
        cube: DataArray,
        *,
        res: float | None = None,
        bounds: tuple[float, float, float, float] | None = None,
        resampling: Resampling = "cubic",
        nodata: float | None = None,
    ) -> DataArray:
        """Lay every time of a cube on the reference's pixels.

        Args:
            cube: The DataArray that `imatch.stack` tied, or other bands at the same times.
            res: Side of a pixel in units of the answer's CRS.
            bounds: (left, bottom, right, top) to cover, in the answer's CRS.
            resampling: How to take values between pixels: ``nearest`` (of classes and masks),
                ``bilinear``, ``cubic`` or ``lanczos``.
            nodata: Value that marks missing ground, instead of what the cube says.

        Returns:
            The corrected cube, lazy where the cube is (dask). Its coordinate ``status`` along
            ``time`` says what each image is worth; one that is not accepted shows no ground.

        Raises:
            InputError: The cube cannot be used, holds a time that the stack does not, or none of
                its times is tied.
            ConfigError: An option makes no sense.
        """
        # The room above lays pixels on pixels; it is named as registries name theirs.
        work = import_module("imatch.workflows.cube").warp_cube
        warped: DataArray = work(
            self, cube, res=res, bounds=bounds, resampling=resampling, nodata=nodata
        )
        return warped

    def to_dict(self) -> dict[str, Any]:
        """The JSON document, schema ``imatch.stack/1``; null is what is unknown.

        - ``reference``, ``model``, ``on_map``, ``scatter_px``, ``scatter_m``, ``chi_squared``,
          ``freedom``, ``seconds``, ``provenance``: as above.
        - ``counts``: how many images are ``ok``, ``uncertain`` and ``failed``.
        - ``images``: objects with the attributes of `StackImage`, ``date`` as ``2019-03-18``, and
          of the registration ``status``, ``reason``, ``matrix``, ``map_matrix``, ``shift_px``,
          ``shift_m``, ``ci95_px``, ``ci95_m``, ``corner_ci95_px``, ``corner_ci95_m``, ``rmse_px``
          and ``rmse_m``; the whole of it is in ``transforms/NAME.json``.
        - ``pairs``, ``loops``: objects with the attributes of `StackPair` and `StackLoop`.
        """
        statuses = [image.status for image in self.images]
        return {
            "schema": SCHEMA,
            "reference": self.reference,
            "model": self.model,
            "on_map": self.on_map,
            "counts": {kind: statuses.count(kind) for kind in ("ok", "uncertain", "failed")},
            "scatter_px": json_values(self.scatter_px),
            "scatter_m": json_values(self.scatter_m),
            "chi_squared": json_values(self.chi_squared),
            "freedom": self.freedom,
            "seconds": self.seconds,
            "images": [_image(image) for image in self.images],
            "pairs": [json_values(vars(pair)) for pair in self.pairs],
            "loops": [json_values(vars(loop)) for loop in self.loops],
            "provenance": self.provenance,
        }


_OF_REGISTRATION = (
    "matrix",
    "map_matrix",
    "shift_px",
    "shift_m",
    "ci95_px",
    "ci95_m",
    "rmse_px",
    "rmse_m",
)


def _image(image: StackImage) -> dict[str, Any]:
    document, bound = image.registration.to_dict(), image.registration.certificate
    return {
        "name": image.name,
        "path": redacted(image.path),
        "date": None if image.date is None else image.date.isoformat(),
        "status": image.status,
        "reason": image.reason,
        "pairs": image.pairs,
        "counting": image.counting,
        "aside": image.aside,
        "ways": image.ways,
        "copy_of": image.copy_of,
        **{name: document[name] for name in _OF_REGISTRATION},
        "corner_ci95_px": bound.corner_ci95_px,
        "corner_ci95_m": bound.corner_ci95_m,
    }
