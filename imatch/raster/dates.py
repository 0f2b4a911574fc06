"""Acquisition date of an image from its tags or name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from pathlib import PurePath

# 2019-03-18, 2019_03_18, 20190318, 20190318T083601; never part of a longer number.
_WRITTEN = re.compile(r"(?<!\d)((?:19|20)\d\d)([-_.:]?)(\d\d)\2(\d\d)(?!\d)")
# 2020216T105021, year and day of the year, in the names of HLS granules.
_YEAR_AND_DAY = re.compile(r"(?<!\d)((?:19|20)\d\d)(\d{3})T\d{6}(?!\d)")
# Of all that GDAL's drivers write; the first says when it was taken, the last when it was written.
_TAGS = ("ACQUISITIONDATETIME", "PRODUCT_START_TIME", "SENSING_TIME", "TIFFTAG_DATETIME")
_YEAR = 365.25


def acquisition_date(path: str, tags: Mapping[str, str] | None = None) -> date | None:
    """The day an image was taken.

    Args:
        path: File or folder. Its own name is read first, then those of the two folders above it. Of
            several dates the first counts, which in the names of Sentinel-2, Landsat and Planet
            products is the acquisition.
        tags: The file's tags, for names that say nothing.

    Returns:
        The day, None where nothing tells.

    Examples:
        >>> acquisition_date("S2A_MSIL1C_20190318T083601_N0207_R064_T36UYA_20190318T104229.SAFE")
        datetime.date(2019, 3, 18)
        >>> acquisition_date("Sentinel2_NDVI_2020-02-21.tif")
        datetime.date(2020, 2, 21)
        >>> acquisition_date("HLS.S30.T31TCJ.2020216T105021.v2.0.B04.tif")
        datetime.date(2020, 8, 3)
    """
    parts = PurePath(path).parts
    texts = [*reversed(parts[-3:])]
    named = {name.upper(): value for name, value in (tags or {}).items()}
    texts += [named[name] for name in _TAGS if name in named]
    return next((day for text in texts for day in _dates(text)), None)


def season_gap(one: date, other: date) -> float:
    """Days between two dates as if they were of one year, 0 to 183.

    Examples:
        >>> season_gap(date(2019, 1, 2), date(2021, 12, 30)) < 4
        True
    """
    days = abs((one - other).days) % _YEAR
    return min(days, _YEAR - days)


def _dates(text: str) -> Iterator[date]:
    for year, _, month, day in _WRITTEN.findall(text):
        try:
            yield date(int(year), int(month), int(day))
        except ValueError:
            continue
    for year, day in _YEAR_AND_DAY.findall(text):
        if 1 <= int(day) <= 366:
            yield date(int(year), 1, 1) + timedelta(int(day) - 1)
