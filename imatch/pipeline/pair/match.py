"""Registers one raster onto another."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import ConfigError
from imatch.core.io.fingerprint import Fingerprint, check_unchanged, fingerprints
from imatch.core.types import Rendered
from imatch.geometry.alignment.pixel_fixed import (
    DOUBT,
    SamePixels,
    block_bound,
    pixel_upon_pixel,
)
from imatch.geometry.alignment.systematic import grid_bound
from imatch.geometry.estimate import Estimate
from imatch.matchers import MATCHERS
from imatch.pipeline.pair.config import MatchConfig, make_config
from imatch.pipeline.pair.other_bands import ask_other_bands
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
from imatch.raster.fixed.blocks import common_blocks
from imatch.raster.read.source import settings_of

Image: TypeAlias = "str | PathLike[str] | NDArray[Any] | Source"


def match(
    ref: Image,
    tgt: Image,
    config: Asked | None = None,
    *,
    on_stage: Callable[[str], None] | None = None,
    **overrides: Any,
) -> Registration:
    """Register the target onto the reference.

    Args:
        ref: Reference image: a path, a numpy array ((H, W), (H, W, C) or (C, H, W)) or a `Source`.
        tgt: Target image.
        config: Settings, or a registrar that was loaded with them (`load_registrar`,
            `MatcherRegistrar`), to match many pairs with one model; the defaults when None.
        on_stage: Called with what is being done now, for a progress display.
        **overrides: Fields of `MatchConfig` to replace, e.g. ``matcher="sift"``; of a registrar
            those that do not decide what is loaded.

    Returns:
        The registration. No answer is a status with a reason, not an exception.

    Raises:
        ImatchError: An image, an option or a checkpoint that cannot be used.

    Example:
        >>> import numpy as np
        >>> import cv2
        >>> rng = np.random.default_rng(0)
        >>> noise = cv2.resize(rng.random((40, 40)), (320, 320))
        >>> r = match(noise[:, :280], noise[:, 20:300], matcher="sift")
        >>> r.status, [round(v) for v in r.shift_px]
        ('ok', [-20, 0])
    """
    started = time.perf_counter()
    asked = with_settings(config, make_config, **overrides)
    return estimate_pair(ref, tgt, asked, on_stage=on_stage).registration(started)


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
    """

    sources: tuple[Source, Source]
    inputs: tuple[tuple[Fingerprint, ...], ...]
    pair: WorkPair
    rendered: tuple[Rendered, Rendered]
    estimate: Estimate
    registrar: Registrar
    tolerance: Tolerance | None

    @property
    def config(self) -> MatchConfig:
        """The settings."""
        return self.registrar.config

    def provenance(self) -> dict[str, Any]:
        """Where the answer comes from, JSON-ready."""
        return {
            **provenance(
                self.config, self.registrar.weights_used, self.sources, self.inputs, self.pair
            ),
            "found_by": self.estimate.found_by,
        }

    def check_inputs(self) -> None:
        """Make sure that the answer is one of the files as they are.

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
            seconds=time.perf_counter() - started,
            provenance=self.provenance(),
        )


def estimate_pair(
    ref: Image,
    tgt: Image,
    asked: Asked,
    *,
    on_stage: Callable[[str], None] | None = None,
) -> PairEstimate:
    """Read a pair at working size and solve it: `match` without its last step.

    Args:
        ref: As for `match`.
        tgt: As for `match`.
        asked: Settings, or a registrar.
        on_stage: As for `match`.

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
    inputs = tuple(fingerprints(source.files) for source in sources)
    # What a source was opened with, no matter who opened it.
    config = config.model_copy(
        update={
            f"{side}_{name}": Path(value) if name == "mask" and isinstance(value, str) else value
            for side, source in zip(("ref", "tgt"), sources, strict=True)
            for name, value in zip(("bands", "nodata", "mask"), source.opened_with, strict=True)
        }
    )
    tolerance = None if config.tolerance is None else Tolerance.parse(config.tolerance)
    _check_metres(tolerance, config, sources)
    pair = read_pair(
        *sources, size=config.size, margin=config.margin, use_geocoding=config.use_geocoding
    )
    pair = leave_out_marks(pair)
    if isinstance(asked, Registrar):
        registrar = asked.configured(config)
    else:
        stage(f"loading {config.matcher}")
        registrar = load_registrar(config)
    rendered = render(pair.ref, registrar.channels), render(pair.tgt, registrar.channels)
    found = registrar.solve(*rendered, geocoded=pair.geocoded, on_stage=stage)
    found = held_by_ground(found, rendered, pair, registrar, stage)
    found = ask_other_bands(found, sources, pair, config)
    if pair.repeated > 1:
        found = grid_bound(found, pair.repeated)
    elif found.status == "ok":
        found = block_bound(found, common_blocks(pair.ref, pair.tgt))
    return PairEstimate(sources, inputs, pair, rendered, found, registrar, tolerance)


def held_by_ground(
    found: Estimate,
    rendered: tuple[Rendered, Rendered],
    pair: WorkPair,
    registrar: Registrar,
    on_stage: Callable[[str], None],
) -> Estimate:
    """An estimate that the ground bears out, or one that says what it stands on.

    Args:
        found: What was found.
        rendered: What the registrar saw.
        pair: How it was read.
        registrar: Asked once more, without what may be fixed to the pixels.
        on_stage: As for `match`.
    """
    offset = pair.same_pixels
    if offset is None or not pixel_upon_pixel(found, offset):
        return found
    same = SamePixels(*rendered, offset)
    if same.borne_out():
        return found
    on_stage("matching without what lies at the same pixels")
    other = registrar.solve(*same.without(), geocoded=pair.geocoded, on_stage=on_stage)
    if other.status == "ok" and not pixel_upon_pixel(other, offset):
        return other
    return replace(found, status="uncertain", reason=f"{found.reason}, {DOUBT}")


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
    return (
        _source(ref, "ref", config.ref_bands, config.ref_nodata, config.ref_mask, config.dem),
        _source(tgt, "tgt", config.tgt_bands, config.tgt_nodata, config.tgt_mask, config.dem),
    )


def _source(
    image: Image,
    side: str,
    bands: tuple[int | str, ...] | None,
    nodata: float | None,
    mask: Path | None,
    dem: Path | float | None,
) -> Source:
    if isinstance(image, str | PathLike):
        return open_source(image, bands=bands, nodata=nodata, mask=mask, dem=dem)
    if isinstance(image, np.ndarray):
        return array_source(image, bands=bands, nodata=nodata, mask=mask)
    bend = image.info.geolocation
    by_rpcs = bend is not None and bend.model.kind == "rpcs"
    wanted_dem = os.path.realpath(dem) if isinstance(dem, Path) else dem
    if dem is not None and bend is not None and by_rpcs and bend.dem != wanted_dem:
        raise ConfigError(
            f"{image.info.name} is open already, and not with {str(dem)!r}",
            subject="dem",
            hint="open it with that (open_source), or give its path",
        )
    asked = settings_of(bands, nodata, mask)
    for name, wanted, given in zip(
        ("bands", "nodata", "mask"), asked, image.opened_with, strict=True
    ):
        if wanted is not None and wanted is not given and wanted != given:
            raise ConfigError(
                f"{image.info.name} is open already, and not with {wanted!r}",
                subject=f"{side}_{name}",
                hint="open it with that (open_source), or give its path",
            )
    return image
