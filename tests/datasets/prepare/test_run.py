from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from shapely.geometry import GeometryCollection, LineString, MultiPolygon, Polygon, box

from imatch.core.errors import InputError, OutputError
from imatch.core.settings import make_settings
from imatch.datasets import chip_files as chips
from imatch.datasets.config import PrepareConfig
from imatch.datasets.manifest import DatasetManifest, load_manifest
from imatch.datasets.pairs import ChipPairs
from imatch.datasets.prepare import merge_tables as merging
from imatch.datasets.prepare import run as module
from imatch.datasets.prepare import sites
from imatch.datasets.prepare import write_chips as cutting
from imatch.datasets.prepare.run import prepare

WriteImage = Callable[..., Path]


def config(images: list[Path] | list[str], **values: Any) -> PrepareConfig:
    own = {"clouds": "none", "polygons": tuple(values.pop("polygons", ()))}
    own |= values.pop("source", {})
    source = {"name": "made", "images": [str(path) for path in images], **own}
    settings = {"chip": 96, "max_pairs": 2, "min_texture": 0.1, "sources": [source]}
    return make_settings(PrepareConfig, settings | values)


@pytest.fixture(autouse=True)
def quick_sheet(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the end-to-end test draws; `test_sheet` sees to the drawing."""
    monkeypatch.setattr(merging, "_ON_SHEET", 2)
    if "end_to_end" not in request.node.name:
        monkeypatch.setattr(merging, "write_sheet", lambda _samples, path: path.touch())


@pytest.fixture
def polygons(tmp_path: Path) -> Path:
    """Clearings in degrees: plain, multiple, twisted, a line, empty ones, and one far away."""
    shapes: list[Any] = [
        box(357_000, 4_834_000, 357_200, 4_834_150),
        MultiPolygon(
            [box(356_300, 4_834_500, 356_400, 4_834_600), box(3.58e5, 4.8333e6, 358_100, 4_833_400)]
        ),
        Polygon(
            [(357_500, 4_834_500), (357_600, 4_834_600), (357_600, 4_834_500), (357_500, 4_834_600)]
        ),
        LineString([(357_000, 4_834_000), (357_100, 4_834_100)]),
        GeometryCollection(),
        None,
        box(500_000, 4_000_000, 500_100, 4_000_100),
    ]
    frame = geopandas.GeoDataFrame(
        {"img_date": ["2018-06-01"] * 6 + [None]}, geometry=shapes, crs="EPSG:32631"
    )
    path = tmp_path / "clearings.geojson"
    frame.to_crs("EPSG:4326").to_file(path, driver="GeoJSON")
    return path


def same(one: DatasetManifest, other: DatasetManifest) -> bool:
    return one.sha256 == other.sha256 and one.chips == other.chips


def test_a_data_set_end_to_end(scenes: list[Path], polygons: Path, tmp_path: Path) -> None:
    settings = config(scenes, polygons=[str(polygons)], max_pairs=3)
    done = prepare(settings, tmp_path / "out", command="typed")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "README.md",
        "changed",
        "chips",
        "chips.csv",
        "keypoints.csv",
        "manifest.json",
        "pairs.csv",
        "sheet.png",
    ]
    again = load_manifest(tmp_path / "out")
    assert same(done, again)
    document = again.document
    assert document["command"] == "typed"
    assert set(document["counts"]) == {"train", "val"}
    assert document["counts"]["train"]["chips_by_season"].keys() == {
        "dec-feb",
        "jun-aug",
        "mar-may",
        "sep-nov",
    }
    # The multi-polygon and the twisted one fall in two parts each.
    told = document["polygons"]
    assert (told["features"], told["polygons"], told["parts"], told["mended"]) == (7, 6, 4, 1)
    assert (told["empty"], told["dropped"], told["outside"], told["undated"]) == (2, 1, 1, 1)
    # July was rendered 1.5 px further right than the rest.
    july = [p for p in again.pairs if ("0715" in p.a) != ("0715" in p.b) and p.measured == "chip"]
    assert len(july) >= 5
    signs = [1 if "0715" in pair.b else -1 for pair in july]
    off = [sign * pair.dx - 1.5 for sign, pair in zip(signs, july, strict=True)]
    assert np.median(np.abs(off)) < 0.15
    assert np.median([abs(pair.dy) for pair in july]) < 0.15
    assert all(0.04 < pair.sigma_px < 0.5 for pair in july)
    for chip in again.chips:
        with rasterio.open(again.folder / chip.path) as file:
            assert file.crs.to_epsg() == 32631
            assert file.bounds == pytest.approx((chip.left, chip.bottom, chip.right, chip.top))
            assert (file.count, file.dtypes[0]) == (3, "uint8")


def test_chips_hold_the_numbers_of_the_image(scenes: list[Path], tmp_path: Path) -> None:
    done = prepare(config(scenes), tmp_path / "out")
    chip = done.chips[0]
    column, row = round((chip.left - 356_000) / 10), round((4_835_000 - chip.top) / 10)
    with rasterio.open(chip.image) as whole, rasterio.open(done.folder / chip.path) as part:
        expected = whole.read()[:, row : row + 96, column : column + 96]
        np.testing.assert_array_equal(part.read(), expected)


def test_keypoints_show_the_same_ground_on_every_chip(
    scenes: list[Path], polygons: Path, tmp_path: Path
) -> None:
    done = prepare(config(scenes, polygons=[str(polygons)]), tmp_path / "out")
    centres = {0: (357_100, 4_834_075)}
    by_site = {chip.site: chip for chip in done.chips}
    found = [point for point in done.keypoints if point.polygon in centres]
    assert found
    for point in found:
        chip = by_site[point.site]
        place = Affine(10, 0, chip.left, 0, -10, chip.top) @ (point.x + 0.5, point.y + 0.5)
        assert place == pytest.approx(centres[point.polygon], abs=0.01)
    # Clearings first seen in June are on no image of January, and changed from then to July.
    pairs = ChipPairs(done, by_site[found[0].site].split, max_changed=1.0)
    rows = [row for row in pairs.rows if row.site == found[0].site]
    assert rows
    for row in rows:
        sample = pairs.pair(row)
        seen = any(
            np.allclose(xy, (found[0].x, found[0].y), atol=1e-3) for xy in sample.keypoints_a
        )
        assert seen == (sample.dates[0] >= "20180601")
        felled = sample.changed[round(found[0].y), round(found[0].x)]
        if (sample.dates[0] < "20180601") != (sample.dates[1] < "20180601"):
            assert felled


def test_a_broken_off_run_goes_on(
    scenes: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sites, "_ACROSS", 1)
    settings = config(scenes[:2])
    whole = prepare(settings, tmp_path / "whole")
    real, calls = cutting.write_chips, []

    def breaking(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(module, "write_chips", breaking)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        prepare(settings, out)
    assert not (out / "manifest.json").exists()
    with pytest.raises(OutputError, match="pass --resume"):
        prepare(settings, out)
    with pytest.raises(OutputError, match="of other images or settings"):
        prepare(config(scenes[:2], seed=9), out, resume=True)
    done = prepare(settings, out, resume=True)
    assert same(done, whole)
    # What was finished is not cut again.
    assert 2 < len(calls) <= len({chip.site for chip in whole.chips}) + 1
    count = len(calls)
    assert same(prepare(settings, out, resume=True), whole)
    assert len(calls) == count
    assert same(prepare(settings, out, overwrite=True), whole)


@pytest.mark.usefixtures("warm_workers")
def test_workers_give_the_same(scenes: list[Path], tmp_path: Path) -> None:
    settings = config(scenes[:2], chip=64)
    one = prepare(settings, tmp_path / "one")
    assert same(prepare(settings, tmp_path / "two", jobs=2), one)


def test_a_truncated_image_among_good_ones_is_listed(scenes: list[Path], tmp_path: Path) -> None:
    content = scenes[1].read_bytes()
    scenes[1].write_bytes(content[: len(content) // 2])
    scenes[2].write_bytes(b"no image")
    done = prepare(config(scenes), tmp_path / "out")
    told = {item["path"]: item["reason"] for item in done.document["skipped"]}
    assert set(told) == {str(scenes[1]), str(scenes[2])}
    assert all(told.values())
    assert {chip.image for chip in done.chips} == {str(scenes[0]), str(scenes[3])}


def test_an_image_that_breaks_in_the_middle_leaves_nothing(
    scenes: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sites, "_ACROSS", 1)
    real, calls = cutting._read, []

    def failing(scene: Any, *rest: Any) -> Any:
        calls.append(scene.date)
        if scene.date == "20180420" and calls.count("20180420") == 2:
            raise InputError("its pixels cannot be read", subject=scene.path)
        return real(scene, *rest)

    monkeypatch.setattr(cutting, "_read", failing)
    done = prepare(config(scenes), tmp_path / "out")
    assert not any(chip.date == "20180420" for chip in done.chips)
    assert not list((tmp_path / "out").rglob("20180420.tif"))
    assert [item["path"] for item in done.document["skipped"]] == [str(scenes[1])]


def test_one_place_that_cannot_be_divided_is_refused(
    write_image: WriteImage, views: dict[str, NDArray[np.uint8]], tmp_path: Path
) -> None:
    images = [write_image(f"{d}.tif", p[:, :100, :110]) for d, p in views.items()]
    with pytest.raises(InputError, match="not large enough to be divided"):
        prepare(config(images), tmp_path / "out")
    done = prepare(config(images, split=(1.0,)), tmp_path / "whole")
    assert set(done.document["counts"]) == {"train"}


@pytest.mark.parametrize(("count", "dtype"), [(1, "uint8"), (13, "uint16"), (2, "float32")])
def test_bands_and_types(
    write_image: WriteImage,
    views: dict[str, NDArray[np.uint8]],
    tmp_path: Path,
    count: int,
    dtype: str,
) -> None:
    scale = {"uint8": 1, "uint16": 20, "float32": 0.01}[dtype]
    images = []
    for date, pixels in list(views.items())[:2]:
        stack = (np.resize(pixels, (count, *pixels.shape[1:])) * scale).astype(dtype)
        images.append(write_image(f"{date}.tif", stack))
    bands = tuple(range(1, count + 1))
    done = prepare(config(images, source={"bands": bands}), tmp_path / "out")
    assert {chip.bands for chip in done.chips} == {count}
    assert {chip.dtype for chip in done.chips} == {"uint8" if dtype == "uint8" else "uint16"}
    sample = ChipPairs(done, "train")[0]
    assert sample.a.shape == (count, 96, 96)
    assert ChipPairs(done, "train", channels=1)[0].a.shape == (1, 96, 96)
    assert ChipPairs(done, "train", channels=3)[0].b.shape == (3, 96, 96)
    assert len(done.document["bands"]["made"]["mean"]) == count
    # What was stored stands for what was measured, to a step of the coding.
    chip = done.chips[0]
    column, row = round((chip.left - 356_000) / 10), round((4_835_000 - chip.top) / 10)
    with rasterio.open(chip.image) as whole, rasterio.open(done.folder / chip.path) as part:
        values = part.read() * part.scales[0] + part.offsets[0]
        truth = whole.read()[:, row : row + 96, column : column + 96]
        assert np.abs(values - truth).max() <= part.scales[0] * 0.51 or count == 2
        assert np.abs(np.median(values) - np.median(truth)) <= 0.001 * np.ptp(truth) + 0.5 * scale


def test_images_without_crs_or_partner(
    write_image: WriteImage, views: dict[str, NDArray[np.uint8]], tmp_path: Path
) -> None:
    images = []
    for place in "pqr":
        for date, pixels in list(views.items())[: 1 if place == "r" else 2]:
            images.append(write_image(f"{place}_{date}.tif", pixels[:, :100, :200], crs=None))
    done = prepare(config(images, source={"place": r"([pqr])_\d"}), tmp_path / "out")
    assert {chip.place for chip in done.chips} == set("pqr")
    assert {chip.crs for chip in done.chips} == {""}
    splits = {place: {c.split for c in done.chips if c.place == place} for place in "pqr"}
    assert all(len(names) == 1 for names in splits.values())
    assert {pair.site.split("/")[1] for pair in done.pairs} == {"p", "q"}
    assert done.document["alone"] == sum(chip.place == "r" for chip in done.chips) > 0


def test_polygons_that_lie_elsewhere_are_refused(scenes: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "far.geojson"
    geopandas.GeoSeries([box(10, 10, 11, 11)], crs="EPSG:4326").to_file(path, driver="GeoJSON")
    with pytest.raises(InputError, match="none of its 1 polygons lies on an image"):
        prepare(config(scenes, polygons=[str(path)]), tmp_path / "out")


def test_polygons_need_a_map(
    write_image: WriteImage, views: dict[str, NDArray[np.uint8]], polygons: Path, tmp_path: Path
) -> None:
    images = [write_image(f"{d}.tif", p, crs=None) for d, p in views.items()]
    with pytest.raises(InputError, match="no image of made is geocoded"):
        prepare(config(images, polygons=[str(polygons)]), tmp_path / "out")


def test_a_folder_of_something_else_is_left_alone(scenes: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match=r"holds something else \(thesis.txt\)"):
        prepare(config(scenes), out, overwrite=True)
    assert (out / "thesis.txt").read_text() == "years of work"


def test_nothing_good_enough_is_said(write_image: WriteImage, tmp_path: Path) -> None:
    flat = [write_image(f"{i}.tif", np.full((1, 220, 300), 7 + i, np.uint8)) for i in range(2)]
    with pytest.raises(InputError, match="no chip is good enough"):
        prepare(config(flat), tmp_path / "out")


def test_a_full_disk_leaves_a_run_that_goes_on(
    scenes: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = chips.write_chip, []

    def full(path: Path, *arguments: Any, **named: Any) -> None:
        calls.append(path)
        if len(calls) == 5:
            raise OutputError("No space left on device", subject=path)
        real(path, *arguments, **named)

    monkeypatch.setattr(cutting, "write_chip", full)
    with pytest.raises(OutputError, match="No space left"):
        prepare(config(scenes), tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()
    done = prepare(config(scenes), tmp_path / "out", resume=True)
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["sha256"] == done.sha256


def test_the_shared_data_is_found_where_it_is(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    if not (root / ".." / "shared" / "data" / "train").is_dir():
        pytest.skip("../shared/data is not beside the checkout")
    from imatch.datasets.config import load_prepare_config
    from imatch.datasets.prepare.scan import scan
    from imatch.datasets.prepare.sites import plan_sites

    settings = load_prepare_config(
        root / "experiments" / "data" / "shared_train.yaml",
        {"root": root / ".." / "shared" / "data"},
    )
    found = scan(settings)
    assert not found.skipped
    assert not any("bench" in scene.path for scene in found.geocoded)
    plan = plan_sites(found, settings)
    events: dict[str, set[str]] = {}
    for site in plan.sites:
        if site.group.source == "ombria":
            events.setdefault(site.group.place, set()).add(site.split)
    assert len(events) == 9
    assert all(len(names) == 1 for names in events.values())
