from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from pyproj import CRS
from rich.console import Console

from imatch.export.summary import print_summary, summary, summary_rows
from imatch.pipeline.registration.certificate import Certificate
from imatch.pipeline.registration.result import Registration

Make = Callable[..., Registration]


def printed(registration: Registration, **options: object) -> str:
    out = io.StringIO()
    console = Console(file=out, width=120, **options)  # type: ignore[arg-type]
    print_summary(registration, console)
    return out.getvalue()


def test_everything_that_matters_is_said(registration: Registration) -> None:
    figures: dict[str, Any] = {
        "rmse_px": 0.42,
        "rmse_m": 4.2,
        "ce90_px": 0.71,
        "ce90_m": 7.1,
        "n_check": 62,
    }
    told = dict(summary_rows(replace(registration, **figures)))
    assert told == {
        "ok": "170 tie points agree to within a pixel all over the overlap",
        "reference": "scenes/reference_2018-08.tif · 400 × 300 · EPSG:32631 · 10.0 m",
        "target": "b.tif · 400 × 300 · EPSG:32631 · 10.0 m",
        "shift": "7.39 ± 0.11 px (73.9 ± 1.1 m)",
        "": "x +6.40 ± 0.11, y -3.70 ± 0.09 px · east +64.0 ± 1.1, north +37.00 ± 0.90 m",
        "accuracy": "RMSE 0.42 px (4.20 m), CE90 0.71 px (7.10 m) at 62 check points",
        "coverage": "83% of the overlap",
        "matches": "170 of 200 tie points agree (85%)",
        "model": "similarity: rotation 0.00°, scale 1.0000",
        "matcher": "aliked-lightglue · 3.21 s",
    }


def test_the_certificate_has_a_line(registration: Registration) -> None:
    passed = Certificate(corner_ci95_px=0.12, tolerance="0.3 px", passes=True)
    told = dict(summary_rows(replace(registration, certificate=passed)))
    assert told["certificate"] == "passes 0.3 px: all of the overlap within 0.12 px at 95%"


def test_every_kind_prints_without_a_blank_figure(every: Registration) -> None:
    text = printed(every)
    assert text.startswith(every.status)
    assert "None" not in text
    assert "nan" not in text


def test_a_failure_claims_nothing(make: Make) -> None:
    labels = [label for label, _ in summary_rows(make(status="failed"))]
    assert labels == ["failed", "reference", "target", "matches", "matcher"]


@pytest.mark.parametrize(("status", "code"), [("ok", "32"), ("uncertain", "33"), ("failed", "31")])
def test_the_status_has_its_colour(status: str, code: str, make: Make) -> None:
    text = printed(make(status=status), force_terminal=True, color_system="standard")
    assert text.startswith(f"\x1b[1;{code}m{status}")


def test_summary_is_something_rich_prints(registration: Registration) -> None:
    console = Console(file=io.StringIO(), width=100, record=True)
    console.print(summary(registration))
    assert "similarity" in console.export_text()


def test_file_names_are_not_markup(registration: Registration) -> None:
    odd = replace(registration, target=replace(registration.target, path="[red]b[/].tif"))
    assert "[red]b[/].tif" in printed(odd)


def test_wkt_is_named_not_spelt_out(registration: Registration) -> None:
    wkt = CRS.from_epsg(32631).to_wkt()
    spelt = replace(registration, target=replace(registration.target, crs=wkt))
    assert (
        dict(summary_rows(spelt))["target"] == "b.tif · 400 × 300 · WGS 84 / UTM zone 31N · 10.0 m"
    )
    proj = replace(registration, target=replace(registration.target, crs="+proj=eqc +R=1737400"))
    assert "+proj=eqc" in dict(summary_rows(proj))["target"]


def test_a_console_of_ascii_gets_ascii(every: Registration) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    print_summary(every, Console(file=out, width=120))
    out.flush()
    out.seek(0)
    assert every.status in out.read()
