"""What is known of a pair beside its pixels: errors of its geocoding, marks on its pixels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from imatch.core.errors import ConfigError
from imatch.core.types import Rendered
from imatch.geometry.alignment.overlays import DOUBT, SamePixels, pixel_upon_pixel
from imatch.geometry.estimate import Estimate
from imatch.pipeline.pair.config import MatchConfig
from imatch.pipeline.registration.certificate import Tolerance
from imatch.raster import Source, WorkPair
from imatch.raster.geolocation.models import ControlPoints
from imatch.raster.modality import Modality, modality_of, of_two_sensors

Sensors: TypeAlias = tuple[Modality | None, Modality | None]
"""What kind of sensor made the reference and the target; None where that cannot be told."""


def stated_reach(config: MatchConfig, ref: Source, pair: WorkPair) -> float | None:
    """Returns how far the answer may lie from the geocoding, working pixels; None for any way.

    Raises:
        ConfigError: The pair has no geocoding that could err, or metres are unknown.
    """
    if config.geocoding_error is None:
        return None
    error = Tolerance.parse(config.geocoding_error)
    subject = f"geocoding_error {error}"
    if not pair.geocoded:
        raise ConfigError(
            "the two images are not both geocoded, or --no-geocoding was given",
            subject=subject,
            hint="leave it out",
        )
    pixels = error.value
    if error.unit == "m":
        gsd = ref.info.gsd_m
        if gsd is None:
            raise ConfigError(
                "how many metres a reference pixel measures is not known",
                subject=subject,
                hint="give it in px",
            )
        pixels /= float(np.sqrt(gsd[0] * gsd[1]))
    x, y = (side / 2 for side in pair.ref.size)
    native = pair.ref_map.to_native(np.array([[x, y], [x + 1, y]]))
    return pixels / float(np.hypot(*(native[1] - native[0])))


def sensors_of(config: MatchConfig, sources: tuple[Source, Source], pair: WorkPair) -> Sensors:
    """Returns what kind of sensor made the reference and the target, as far as that can be told.

    Args:
        config: The settings, which may say.
        sources: Reference and target.
        pair: How they were read.
    """
    ref, tgt = (source.info.modality for source in sources)
    return (
        modality_of(config.ref_modality, ref, pair.ref),
        modality_of(config.tgt_modality, tgt, pair.tgt),
    )


def alike(config: MatchConfig, pair: WorkPair, sensors: Sensors) -> bool:
    """Whether one kind of sensor made both images, as far as that can be told.

    Args:
        config: The settings, which may say what they are.
        pair: How they were read.
        sensors: What they are taken for.
    """
    if None in sensors:
        return True
    told = "auto" not in (config.ref_modality, config.tgt_modality)
    if told or sensors != ("optical", "optical"):
        return sensors[0] == sensors[1]
    return not of_two_sensors(pair.ref, pair.tgt)


def held_by_ground(
    found: Estimate,
    rendered: tuple[Rendered, Rendered],
    pair: WorkPair,
    solve: Callable[[Rendered, Rendered], Estimate],
    on_stage: Callable[[str], None],
) -> Estimate:
    """An estimate that the ground bears out, or one that says what it stands on.

    Args:
        found: What was found.
        rendered: What the registrar saw.
        pair: How it was read.
        solve: Asked once more, without what may be fixed to the pixels.
        on_stage: As for `match`.
    """
    offset = pair.same_pixels
    if offset is None or not pixel_upon_pixel(found, offset):
        return found
    same = SamePixels(*rendered, offset)
    if same.borne_out():
        return found
    on_stage("matching without what lies at the same pixels")
    other = solve(*same.without())
    if other.status == "ok" and not pixel_upon_pixel(other, offset):
        return other
    return replace(found, status="uncertain", reason=f"{found.reason}, {DOUBT}")


def gcp_error(sources: tuple[Source, Source], pair: WorkPair) -> float:
    """How far GCPs that locate the images err, as each is put by the others; RMS, working pixels.

    Args:
        sources: Reference and target.
        pair: How they were read.
    """
    squares = 0.0
    for source, pixel_map, image in zip(
        sources, (pair.ref_map, pair.tgt_map), (pair.ref, pair.tgt), strict=True
    ):
        bend = source.info.geolocation
        if pair.grid is None or bend is None or not isinstance(bend.model, ControlPoints):
            continue
        middle = np.array([[(side - 1) / 2 for side in image.valid.shape[::-1]]])
        ends = pixel_map.to_native(middle + np.array([[0, 0], [1, 0], [0, 1.0]]))
        native = abs(float(np.linalg.det(ends[1:] - ends[0])))
        squares += bend.model.agreement_px**2 / native
    return math.sqrt(squares)
