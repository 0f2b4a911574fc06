"""Registers one raster onto another."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Unpack

import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import ConfigError, InputError
from imatch.core.io.fingerprint import Fingerprint, check_unchanged
from imatch.core.progress import ProgressOption, ProgressStages
from imatch.core.settings import check_options
from imatch.core.types import Rendered
from imatch.geometry.alignment.overlays import block_bound
from imatch.geometry.alignment.systematic import grid_bound, located_bound
from imatch.geometry.estimate import Estimate
from imatch.matchers import MATCHERS
from imatch.pipeline.pair.config import MatchConfig, MatchOptions, make_config
from imatch.pipeline.pair.other_bands import ask_other_bands
from imatch.pipeline.pair.points import read_points
from imatch.pipeline.pair.prior import (
    Sensors,
    alike,
    gcp_error,
    held_by_ground,
    sensors_of,
    stated_reach,
)
from imatch.pipeline.pair.provenance import provenance
from imatch.pipeline.pair.registrar import Asked, Registrar, load_registrar, with_settings
from imatch.pipeline.registration.certificate import Tolerance
from imatch.pipeline.registration.result import Registration
from imatch.pipeline.registration.to_registration import to_registration
from imatch.raster import (
    Source,
    WorkPair,
    array_source,
    leave_out_marks,
    open_source,
    read_pair,
    render,
)
from imatch.raster.dataarrays.frame import is_data_array
from imatch.raster.dataarrays.source import data_array_source
from imatch.raster.fixed.blocks import common_blocks
from imatch.raster.gdal import kept_open
from imatch.raster.read.reduced import keep_reduced
from imatch.raster.read.source import SETTINGS, MaskUse, settings_of
from imatch.raster.remote.versions import fingerprints_of

if TYPE_CHECKING:
    from xarray import DataArray

#: What is taken as an image.
Image: TypeAlias = "str | PathLike[str] | NDArray[Any] | DataArray | Source"


def match(
    ref: Image,
    tgt: Image,
    config: Asked | None = None,
    *,
    progress: ProgressOption = None,
    **options: Unpack[MatchOptions],
) -> Registration:
    """Register the target onto the reference.

    Args:
        ref: Reference image: a path or URL, a numpy array ((H, W), (H, W, C) or (C, H, W)), a
            DataArray with a CRS as rioxarray and odc-geo make them, or a `Source`.
        tgt: Target image.
        config: Settings, or a registrar that was loaded with them (`load_registrar`,
            `MatcherRegistrar`), to match many pairs with one model; the defaults when None.
        progress: True shows what is being done on a terminal's stderr; a callback is told.
        **options: Fields of `MatchConfig` to replace, e.g. ``matcher="sift"``; of a registrar
            those that do not decide what is loaded.

    Returns:
        The registration. No answer is a status with a reason, not an exception.

    Raises:
        ImatchError: An image, an option or a checkpoint that cannot be used.

    Examples:
        >>> import cv2, imatch, numpy as np
        >>> ground = cv2.resize(np.random.default_rng(0).random((40, 40)), (320, 320))
        >>> found = imatch.match(ground[:, :280], ground[:, 20:300], matcher="sift")
        >>> found.status, [round(v) for v in found.shift_px]
        ('ok', [-20, 0])
    """
    started = time.perf_counter()
    check_options(options, MatchConfig, match)
    asked = with_settings(config, make_config, **options)
    with ProgressStages(progress) as stages:
        return estimate_pair(ref, tgt, asked, on_stage=stages.begin).registration(started)


@dataclass(frozen=True, eq=False)
class PairEstimate:
    """A pair with its estimate in working pixels.

    Attributes:
        sources: Reference and target.
        inputs: Of each, the fingerprints of its files when it was opened.
        pair: The working pair.
        rendered: What the registrar saw.
        estimate: Its answer, working pixels.
        registrar: The registrar, with all settings.
        tolerance: What the certificate has to reach, None for nothing.
        sensors: What made the two images.
        points: Where the user's own tie points come from, None without.
    """

    sources: tuple[Source, Source]
    inputs: tuple[tuple[Fingerprint, ...], ...]
    pair: WorkPair
    rendered: tuple[Rendered, Rendered]
    estimate: Estimate
    registrar: Registrar
    tolerance: Tolerance | None
    sensors: Sensors
    points: dict[str, Any] | None = None

    @property
    def config(self) -> MatchConfig:
        """The settings."""
        return self.registrar.config

    def provenance(self) -> dict[str, Any]:
        """Returns the record of settings, inputs and versions, JSON-ready."""
        return {
            **provenance(
                self.config, self.registrar.weights_used, self.sources, self.inputs, self.pair
            ),
            "found_by": self.estimate.found_by,
            **({} if self.points is None else {"points": self.points}),
        }

    def check_inputs(self) -> None:
        """Checks that the input files have not changed since they were opened.

        Raises:
            InputError: A file has changed since it was opened.
        """
        for files in self.inputs:
            check_unchanged(files)

    def registration(self, started: float) -> Registration:
        """The registration as the registrar found it.

        Args:
            started: `time.perf_counter` when the work began.

        Raises:
            InputError: A file has changed since it was opened.
        """
        self.check_inputs()
        return to_registration(
            self.estimate,
            self.pair,
            self.sources,
            self.rendered,
            matcher=self.registrar.name,
            gsd_m=self.config.gsd_m,
            tolerance=self.tolerance,
            sensors=self.sensors,
            seconds=time.perf_counter() - started,
            provenance=self.provenance(),
        )


# The search for other bands alone would open each file a dozen times.
@kept_open()
def estimate_pair(
    ref: Image,
    tgt: Image,
    asked: Asked,
    *,
    reduced: bool = False,
    on_stage: Callable[[str], None] | None = None,
) -> PairEstimate:
    """Read a pair at working size and solve it: `match` without its last step.

    Args:
        ref: As for `match`.
        tgt: As for `match`.
        asked: Settings, or a registrar.
        reduced: Keep a reduced level of large files, for what is read of them afterwards.
        on_stage: Called with what is being done now.

    Raises:
        ImatchError: As for `match`.
    """
    stage = on_stage or (lambda _text: None)
    if isinstance(asked, Registrar):
        config = asked.config
    else:
        config = asked
        _ = MATCHERS[config.matcher]  # An unknown name fails before anything is read.
    # What a wrong path or an impossible wish costs is known before a checkpoint is fetched.
    stage("reading")
    sources = open_images(ref, tgt, config)
    if reduced:
        sources = keep_reduced(sources[0]), keep_reduced(sources[1])
    inputs = tuple(fingerprints_of(source) for source in sources)
    # What a source was opened with, no matter who opened it.
    config = config.model_copy(
        update={
            f"{side}_{name}": Path(value) if name == "mask" and isinstance(value, str) else value
            for side, source in zip(("ref", "tgt"), sources, strict=True)
            for name, value in zip(SETTINGS, source.opened_with, strict=True)
        }
    )
    tolerance = None if config.tolerance is None else Tolerance.parse(config.tolerance)
    _check_metres(tolerance, config, sources)
    pair = read_pair(
        *sources, size=config.size, margin=config.margin, use_geocoding=config.use_geocoding
    )
    pair = leave_out_marks(pair)
    own = None if config.points is None else read_points(config.points, sources)
    if isinstance(asked, Registrar):
        registrar = asked.configured(config)
    else:
        stage(f"loading {config.matcher}")
        registrar = load_registrar(config)
    rendered = render(pair.ref, registrar.channels), render(pair.tgt, registrar.channels)
    within = stated_reach(config, sources[0], pair)
    sensors = sensors_of(config, sources, pair)
    solve = partial(
        registrar.solve,
        geocoded=pair.geocoded,
        within=within,
        alike=alike(config, pair, sensors),
        proposed=None if own is None else own.matches(pair),
        on_stage=stage,
    )
    found = held_by_ground(solve(*rendered), rendered, pair, solve, stage)
    found, besides = ask_other_bands(found, sources, pair, config)
    inputs = tuple((*own, *more) for own, more in zip(inputs, besides, strict=True))
    if pair.repeated > 1:
        found = grid_bound(found, pair.repeated)
    elif found.status == "ok":
        found = block_bound(found, common_blocks(pair.ref, pair.tgt))
    error = gcp_error(sources, pair)
    if error > 0:
        found = located_bound(found, error)
    record = None if own is None else own.record
    return PairEstimate(
        sources, inputs, pair, rendered, found, registrar, tolerance, sensors, record
    )


def _check_metres(
    tolerance: Tolerance | None, config: MatchConfig, sources: tuple[Source, Source]
) -> None:
    known = config.gsd_m is not None or any(source.info.gsd_m for source in sources)
    if tolerance is not None and tolerance.unit == "m" and not known:
        raise ConfigError(
            "neither image says how many metres its pixels are",
            subject=f"tolerance {tolerance}",
            hint="give the reference's GSD (--gsd), or a tolerance in px",
        )


def open_images(ref: Image, tgt: Image, config: MatchConfig) -> tuple[Source, Source]:
    """Opens a pair with the bands, nodata values and masks of a configuration.

    Args:
        ref: As for `match`.
        tgt: As for `match`.
        config: The settings.

    Raises:
        InputError: An image cannot be used.
        ConfigError: A `Source` was opened with other settings than these.
    """
    return open_image(ref, "ref", config), open_image(tgt, "tgt", config)


def images_of(
    registration: Registration, ref: Image | None = None, tgt: Image | None = None
) -> tuple[Source, Source]:
    """Opens the images of a registration as they were matched.

    Args:
        registration: The registration.
        ref: The reference, where it was no file or lies elsewhere now.
        tgt: The target, likewise.

    Raises:
        InputError: An image was no file and is not given, or cannot be used.
    """
    kept = registration.provenance.get("config", {})
    names = [f"{side}_{name}" for side in ("ref", "tgt") for name in SETTINGS]
    config = make_config(**{name: kept[name] for name in (*names, "dem") if name in kept})
    images: list[Image] = []
    for given, image, name in (
        (ref, registration.reference, "ref"),
        (tgt, registration.target, "tgt"),
    ):
        if given is None and image.path is None:
            raise InputError(
                "was an array, which the registration does not hold",
                subject=name,
                hint=f"give it: {name}=array",
            )
        images.append(image.path or "" if given is None else given)
    return open_images(images[0], images[1], config)


def open_image(image: Image, side: Literal["ref", "tgt"], config: MatchConfig) -> Source:
    """Opens one image with the bands, nodata value and mask that a configuration has for its side.

    Args:
        image: As for `match`.
        side: Whether it is the reference or the target.
        config: The settings.

    Raises:
        InputError: The image cannot be used.
        ConfigError: A `Source` was opened with other settings than these.
    """
    bands: tuple[int | str, ...] | None = getattr(config, f"{side}_bands")
    nodata: float | None = getattr(config, f"{side}_nodata")
    mask: Path | None = getattr(config, f"{side}_mask")
    product_mask: MaskUse | None = getattr(config, f"{side}_product_mask")
    dem = config.dem
    if isinstance(image, str | PathLike):
        return open_source(
            image, bands=bands, nodata=nodata, mask=mask, dem=dem, product_mask=product_mask
        )
    if isinstance(image, np.ndarray):
        return array_source(image, bands=bands, nodata=nodata, mask=mask)
    if is_data_array(image):
        placed = config.use_geocoding
        return data_array_source(image, bands=bands, nodata=nodata, mask=mask, placed=placed)
    if not isinstance(image, Source):
        raise InputError(
            f"is a {type(image).__name__}",
            subject=side,
            hint="pass a path, a numpy array, a DataArray or a Source",
        )
    bend = image.info.geolocation
    by_rpcs = bend is not None and bend.model.kind == "rpcs"
    wanted_dem = os.path.realpath(dem) if isinstance(dem, Path) else dem
    if dem is not None and bend is not None and by_rpcs and bend.dem != wanted_dem:
        raise ConfigError(
            f"{image.info.name} is open already, and not with {str(dem)!r}",
            subject="dem",
            hint="open it with that (open_source), or give its path",
        )
    asked = settings_of(bands, nodata, mask, product_mask)
    for name, wanted, given in zip(SETTINGS, asked, image.opened_with, strict=True):
        if wanted is not None and wanted is not given and wanted != given:
            raise ConfigError(
                f"{image.info.name} is open already, and not with {wanted!r}",
                subject=f"{side}_{name}",
                hint="open it with that (open_source), or give its path",
            )
    return image
