from __future__ import annotations

from datetime import date

import pytest

from imatch.raster.dates import acquisition_date, season_gap


@pytest.mark.parametrize(
    ("path", "day"),
    [
        ("T36UYA_20160212.tif", date(2016, 2, 12)),
        ("T36UYA_20190318T083601_B01.jp2", date(2019, 3, 18)),
        ("Sentinel2_NDVI_2020-05-21.tif", date(2020, 5, 21)),
        ("scene_2020_05_21_clip.tif", date(2020, 5, 21)),
        # Sensing before processing.
        (
            "S2B_MSIL1C_20180823T105019_N0206_R051_T31TCJ_20180823T180130.SAFE",
            date(2018, 8, 23),
        ),
        ("LC08_L1TP_178024_20190402_20200829_02_T1_B4.TIF", date(2019, 4, 2)),
        # The folder's name, where the file's says nothing.
        ("archive/2019-03-18/B04.tif", date(2019, 3, 18)),
        ("20160101/mosaic_20190402.tif", date(2019, 4, 2)),
        # No such day, or part of a longer number.
        ("x_20191345.tif", None),
        ("id1201903181.tif", None),
        ("18231231.tif", None),
        ("july.tif", None),
    ],
)
def test_dates_are_read_from_names(path: str, day: date | None) -> None:
    assert acquisition_date(path) == day


def test_tags_tell_where_names_do_not() -> None:
    tags = {"TIFFTAG_DATETIME": "2021:01:05 10:00:00", "AcquisitionDateTime": "2019-03-18T08:36:01"}
    assert acquisition_date("july.tif", tags) == date(2019, 3, 18)
    assert acquisition_date("july.tif", {"TIFFTAG_DATETIME": tags["TIFFTAG_DATETIME"]}) == date(
        2021, 1, 5
    )
    assert acquisition_date("a_20160212.tif", tags) == date(2016, 2, 12)


def test_seasons_are_apart_by_half_a_year_at_most() -> None:
    assert season_gap(date(2016, 2, 12), date(2019, 2, 12)) < 1
    assert season_gap(date(2018, 12, 31), date(2020, 1, 2)) < 3
    assert season_gap(date(2018, 1, 1), date(2021, 7, 2)) == pytest.approx(182, abs=1.5)
