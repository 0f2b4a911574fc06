"""Sentinel-1 products: `.SAFE` folders of detected radar images, and zips of them.

The measurements are amplitudes (digital numbers); decibels and calibrated backscatter are computed
where their bands are asked for (S1-RS-MDA-52-7441, "Sentinel-1 Product Specification").
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast
from xml.etree import ElementTree

import numpy as np
import scipy
from affine import Affine
from numpy.typing import NDArray

from imatch.core.errors import InputError

Backscatter: TypeAlias = Literal["sigma0", "beta0", "gamma0"]

_MEASURED = re.compile(
    r"(?:^|[/\\])measurement[/\\](?P<name>s1[a-d]-(?P<beam>[a-z]+\d?)-(?P<kind>grd|slc)-"
    r"(?P<band>vv|vh|hh|hv)-[^/\\]*)\.tiff?$",
    re.IGNORECASE,
)
_BAND = re.compile(
    r"(?:(?P<backscatter>sigma0|beta0|gamma0)_)?(?P<band>vv|vh|hh|hv)(?:_(?P<decibel>db))?",
    re.IGNORECASE,
)
# What the calibration annotation calls the numbers that amplitudes are divided by.
_VECTORS: dict[Backscatter, str] = {
    "sigma0": "sigmaNought",
    "beta0": "betaNought",
    "gamma0": "gamma",
}
# Polarisations in the order in which one is taken: of these the ground's structure shows most.
_USUAL = ("VV", "HH", "VH", "HV")
# Decibels of nothing would be infinite.
_LEAST = 1e-9


@dataclass(frozen=True)
class Calibration:
    """What the amplitudes of a band are divided by to give backscatter.

    Attributes:
        annotation: Its XML file, also within a zip (``/vsizip/…``).
        backscatter: Which one.
    """

    annotation: str
    backscatter: Backscatter

    @cached_property
    def _factor(self) -> Callable[[tuple[Any, Any]], NDArray[np.float64]]:
        lines, pixels, values = [], None, []
        try:
            # Expat itself refuses entities that grow without bounds.
            tree = ElementTree.fromstring(_content(self.annotation))  # noqa: S314
            for vector in tree.iter("calibrationVector"):
                lines.append(float(vector.findtext("line") or "nan"))
                at = np.array((vector.findtext("pixel") or "").split(), dtype=float)
                row = (vector.findtext(_VECTORS[self.backscatter]) or "").split()
                values.append(np.interp(at if pixels is None else pixels, at, np.array(row, float)))
                pixels = at if pixels is None else pixels
            if pixels is None or len(lines) < 2:
                raise ValueError("too few vectors")
            found: Callable[[tuple[Any, Any]], NDArray[np.float64]]
            found = scipy.interpolate.RegularGridInterpolator(
                (lines, pixels), np.stack(values), bounds_error=False, fill_value=None
            )
            return found
        except (OSError, KeyError, ValueError, ElementTree.ParseError) as error:
            raise InputError(
                f"is no calibration of {self.backscatter} ({error})",
                subject=self.annotation,
                hint="match the amplitude, or download the product again",
            ) from error

    def at(self, transform: Affine, shape: tuple[int, int]) -> NDArray[np.float64]:
        """Returns the (H, W) numbers at the pixels of a lattice.

        Args:
            transform: Corner-based, from the lattice to native pixels.
            shape: (H, W).

        Raises:
            InputError: The annotation cannot be read.
        """
        rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
        x, y = transform @ (columns, rows)
        return np.asarray(self._factor((y - 0.5, x - 0.5)))


@dataclass(frozen=True)
class RadarBand:
    """One band of a product.

    Attributes:
        name: ``"VV"``, ``"VV_dB"``, ``"sigma0_VV"`` or ``"sigma0_VV_dB"``.
        file: What GDAL is to open.
        calibration: What its amplitudes are divided by, None for plain amplitudes.
        decibel: Whether their logarithm is taken.
    """

    name: str
    file: str
    calibration: Calibration | None = None
    decibel: bool = False

    @property
    def plain(self) -> bool:
        """Whether the amplitudes are taken as they are."""
        return self.calibration is None and not self.decibel

    def scaled(self, amplitude: NDArray[np.float32], transform: Affine) -> NDArray[np.float32]:
        """Returns what amplitudes of the file stand for: backscatter is a power, of their square.

        Args:
            amplitude: (H, W), NaN where there is none.
            transform: Corner-based, from these pixels to native ones.

        Raises:
            InputError: The calibration cannot be read.
        """
        values: NDArray[np.floating] = amplitude
        if self.calibration is not None:
            values = (amplitude / self.calibration.at(transform, amplitude.shape)) ** 2
        if self.decibel:
            times = 20 if self.calibration is None else 10
            values = times * np.log10(np.maximum(values, _LEAST))
        return np.asarray(values, dtype=np.float32)


def find_sentinel1(path: Path) -> dict[str, str] | None:
    """Finds the measurements of a Sentinel-1 product.

    Args:
        path: A `.SAFE` folder, its ``manifest.safe``, or a zip of a product.

    Returns:
        GDAL path of the image of each polarisation, or None where `path` is no such product.

    Raises:
        InputError: The product holds several images of one polarisation (swaths).
    """
    if path.name.lower() == "manifest.safe":
        path = path.parent
    if path.is_dir():
        files = [str(file) for file in sorted(path.glob("measurement/*.tif*"))]
    elif path.suffix.lower() == ".zip" and path.is_file():
        try:
            with zipfile.ZipFile(path) as archive:
                files = [f"/vsizip/{path.resolve()}/{name}" for name in sorted(archive.namelist())]
        except (zipfile.BadZipFile, OSError):
            return None  # Said by who looks for other products.
    else:
        return None
    found: dict[str, str] = {}
    for file in files:
        image = _MEASURED.search(file)
        if image is None:
            continue
        name = image["band"].upper()
        if name in found:
            raise InputError(
                f"holds several images of {name} (swaths)",
                subject=path,
                hint=f"name one of them, such as {file}",
            )
        found[name] = file
    return {name: found[name] for name in _USUAL if name in found} or None


def choose_radar_bands(
    files: dict[str, str], wanted: Sequence[int | str] | None, *, subject: str
) -> tuple[RadarBand, ...]:
    """Chooses bands of a product.

    Args:
        files: What `find_sentinel1` gave.
        wanted: Band names, a polarisation with ``sigma0_``, ``beta0_`` or ``gamma0_`` before it for
            calibrated backscatter and with ``_dB`` after it for decibels; None for the amplitude of
            VV or HH.
        subject: The product, for messages.

    Raises:
        InputError: A band is not there, or was asked for by number.
    """
    if wanted is None:
        wanted = [next(name for name in _USUAL if name in files)]
    chosen = []
    hint = f"its bands are {', '.join(files)}; add _dB for decibels, sigma0_ before it to calibrate"
    for item in wanted:
        asked = _BAND.fullmatch(str(item).strip())
        if isinstance(item, int) or asked is None or asked["band"].upper() not in files:
            raise InputError(f"has no band {item!r}", subject=subject, hint=hint)
        band, decibel = asked["band"].upper(), asked["decibel"] is not None
        name, calibration = band, None
        if asked["backscatter"] is not None:
            kind = cast(Backscatter, asked["backscatter"].lower())
            calibration = Calibration(_annotation(files[band]), kind)
            name = f"{kind}_{band}"
        chosen.append(
            RadarBand(f"{name}_dB" if decibel else name, files[band], calibration, decibel)
        )
    if not chosen:
        raise InputError("no band was asked for", subject=subject, hint=hint)
    return tuple(chosen)


def _annotation(measurement: str) -> str:
    """The calibration file that belongs to a measurement."""
    image = _MEASURED.search(measurement)
    assert image is not None
    root = measurement[: image.start("name")].replace("\\", "/").rsplit("measurement/", 1)[0]
    return f"{root}annotation/calibration/calibration-{image['name']}.xml"


def _content(file: str) -> bytes:
    if not file.startswith("/vsizip/"):
        return Path(file).read_bytes()
    archive, name = re.split(r"(?<=\.zip)/", file.removeprefix("/vsizip/"), maxsplit=1, flags=re.I)
    with zipfile.ZipFile(archive) as opened:
        return opened.read(name)
