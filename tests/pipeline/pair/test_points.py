from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pytest
import shapely
from numpy.typing import NDArray
from pyproj import Transformer

import imatch
from imatch.core.errors import ConfigError, InputError
from imatch.export import write
from imatch.pipeline.pair.points import read_points
from imatch.pipeline.registration.result import Registration
from imatch.raster import Source, array_source, open_source

FOLDER = Path(__file__).parents[3] / "data" / "sample"
SAMPLE = FOLDER / "bouconne_2018-08.tif", FOLDER / "bouconne_2018-11.tif"
Floats = NDArray[np.float64]


@pytest.fixture(scope="module")
def sample() -> tuple[Source, Source]:
    return open_source(SAMPLE[0]), open_source(SAMPLE[1])


@pytest.fixture(scope="module")
def found() -> Registration:
    return imatch.match(*SAMPLE)


@pytest.fixture(scope="module")
def of_pixels() -> tuple[Registration, tuple[Source, Source]]:
    """A registration of arrays, with some points that disagree."""
    ground = np.random.default_rng(0).random((40, 40)).repeat(8, 0).repeat(8, 1)
    ref, tgt = ground[:, :280], ground[:, 20:300]
    found = imatch.match(ref, tgt, matcher="sift")
    return found, (array_source(ref), array_source(tgt))


def moved(found: Registration, count: int) -> Floats:
    """(N, 4) rows of the sample's tie points that agree, spread over it."""
    points = found.tie_points
    rows = np.column_stack([points.ref_xy, points.tgt_xy])[points.inlier]
    return np.asarray(rows[np.linspace(0, len(rows) - 1, count).astype(int)])


def table(path: Path, header: str, rows: Any, *, first: str = "") -> Path:
    lines = [*([first] if first else []), header, *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


class TestReading:
    @pytest.mark.parametrize("suffix", ["json", "points", "csv", "gpkg", "geojson", "npz"])
    def test_every_export_comes_back_without_what_disagrees(
        self, suffix: str, found: Registration, sample: tuple[Source, Source], tmp_path: Path
    ) -> None:
        path = tmp_path / f"p.{suffix}"
        write(found, path)
        own, kept = read_points(path, sample), found.tie_points.inlier
        assert 0 < kept.sum() < len(kept)
        np.testing.assert_allclose(own.ref_xy, found.tie_points.ref_xy[kept], atol=2e-4)
        np.testing.assert_allclose(own.tgt_xy, found.tie_points.tgt_xy[kept], atol=2e-4)
        assert own.record["off"] == (~kept).sum()
        assert len(own.record["sha256"]) == 64

    @pytest.mark.parametrize("suffix", ["points", "csv", "gpkg", "geojson"])
    def test_the_same_of_images_without_geocoding(
        self, suffix: str, of_pixels: tuple[Registration, tuple[Source, Source]], tmp_path: Path
    ) -> None:
        found, sources = of_pixels
        path = tmp_path / f"p.{suffix}"
        write(found, path)
        own = read_points(path, sources)
        kept = found.tie_points.inlier
        np.testing.assert_allclose(own.ref_xy, found.tie_points.ref_xy[kept], atol=1e-6)
        np.testing.assert_allclose(own.tgt_xy, found.tie_points.tgt_xy[kept], atol=1e-6)

    def test_points_of_qgis_in_another_crs(
        self, sample: tuple[Source, Source], tmp_path: Path
    ) -> None:
        """As the Georeferencer of QGIS 3.16 wrote them, pixelX and all, in degrees."""
        ref, tgt = np.array([[10, 20], [100, 30], [50, 200.0]]), np.array([[11, 19.5]] * 3)
        to_degrees = Transformer.from_crs("EPSG:32631", "EPSG:4326", always_xy=True)
        lon_lat = np.column_stack(to_degrees.transform(*sample[0].info.to_map(ref).T))
        own = sample[1].info.to_map(tgt)
        rows = [(*a, *b, 1, 0, 0, 0) for a, b in zip(lon_lat, own, strict=True)]
        rows.append((*lon_lat[0], *own[0], 0, 0, 0, 0))
        header = "mapX,mapY,pixelX,pixelY,enable,dX,dY,residual"
        path = table(tmp_path / "q.points", header, rows, first="#CRS: EPSG:4326")
        read = read_points(path, sample)
        np.testing.assert_allclose(read.ref_xy, ref, atol=1e-3)
        np.testing.assert_allclose(read.tgt_xy, tgt, atol=1e-9)
        assert read.record["off"] == 1

    def test_pixels_of_qgis_on_a_geocoded_target(
        self, sample: tuple[Source, Source], tmp_path: Path
    ) -> None:
        """Where QGIS was told not to use the geotransform: rows count upwards from 0."""
        rows = [
            (*sample[0].info.to_map(np.array([[x, 9.0]]))[0], x + 0.5, -9.5, 1) for x in (5, 6, 7)
        ]
        path = table(tmp_path / "q.points", "mapX,mapY,sourceX,sourceY,enable", rows)
        read = read_points(path, sample)
        np.testing.assert_allclose(read.tgt_xy, [(x, 9) for x in (5, 6, 7)])

    def test_a_point_moved_on_the_map_counts_where_it_is_now(
        self, found: Registration, sample: tuple[Source, Source], tmp_path: Path
    ) -> None:
        path = tmp_path / "p.gpkg"
        write(found, path)
        layer = gpd.read_file(path, layer="tie_points")
        layer = layer[layer.inlier].head(4)
        layer.geometry = layer.geometry.translate(20, -10).map(
            lambda one: shapely.MultiPoint([one])
        )
        layer.to_crs("EPSG:3857").to_file(tmp_path / "moved.gpkg", layer="mine")
        own = read_points(tmp_path / "moved.gpkg", sample)
        before = layer[["ref_x", "ref_y"]].to_numpy()
        np.testing.assert_allclose(own.ref_xy, before + np.array([2, 1]), atol=1e-3)
        np.testing.assert_allclose(own.tgt_xy, layer[["tgt_x", "tgt_y"]].to_numpy())

    def test_lines_lead_from_where_the_target_has_a_place(
        self, sample: tuple[Source, Source], tmp_path: Path
    ) -> None:
        ref, tgt = (
            np.array([[10, 20], [100, 30], [50, 200.0]]),
            np.array([[12, 19], [9, 9], [50, 210.0]]),
        )
        ends = np.stack([sample[1].info.to_map(tgt), sample[0].info.to_map(ref)], axis=1)
        lines = gpd.GeoDataFrame(geometry=shapely.linestrings(ends), crs="EPSG:32631")
        lines.to_file(tmp_path / "lines.geojson")
        own = read_points(tmp_path / "lines.geojson", sample)
        np.testing.assert_allclose(own.ref_xy, ref, atol=1e-2)
        np.testing.assert_allclose(own.tgt_xy, tgt, atol=1e-2)

    def test_a_table_of_ones_own(self, sample: tuple[Source, Source], tmp_path: Path) -> None:
        path = tmp_path / "mine.csv"
        path.write_text(
            "Ref X;Ref_Y;tgt_x;tgt_y;use\n1;2;3;4;yes\n5;6;7;8;\n9;9;9;9;no\n2;3;4;5;1\n"
        )
        own = read_points(path, sample)
        np.testing.assert_array_equal(own.ref_xy, [[1, 2], [5, 6], [2, 3]])
        assert own.record["off"] == 1

    @pytest.mark.parametrize(
        ("name", "text", "told"),
        [
            ("p.csv", "a,b\n1,2\n", "lacks the columns of the reference: ref_x, ref_y or mapX"),
            ("p.csv", "ref_x,ref_y,a\n1,2,3\n", "lacks the columns of the target"),
            ("p.csv", "", "is empty"),
            ("p.csv", "ref_x,ref_y,tgt_x,tgt_y\n1,2,3,\n", "1. point has no number in tgty: ''"),
            ("p.csv", "ref_x,ref_y,tgt_x,tgt_y\n1,2,3,nan\n", "no number in tgty: 'nan'"),
            ("p.csv", "ref_x,ref_y,tgt_x,tgt_y\n1,2,3,4\n1,9,3,9\n", "2 usable points, 3 are"),
            (
                "p.csv",
                "ref_x,ref_y,tgt_x,tgt_y,use\n1,2,3,4,0\n-9,2,3,4,1\n1,2,3,4000,1\n1,2,3,4,1\n",
                "1 usable point, 3 are needed: of its 4, 1 are switched off and 2 lie outside",
            ),
            ("p.points", "#CRS: EPSG:77\nmapX,mapY,sourceX,sourceY\n1,1,1,1\n", "CRS is not"),
            ("p.geojson", "{}", "points cannot be read"),
            ("p.json", "{}", "schema"),
            ("p.npz", "x", "no tie points file"),
            ("p.npz", "PK\x03\x04cut", "no tie points file"),
            ("p.shp", "x", "holds no tie points by its suffix '.shp'"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_read_is_told_in_a_line(
        self, name: str, text: str, told: str, sample: tuple[Source, Source], tmp_path: Path
    ) -> None:
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(InputError, match=told.replace(".", r"\.")) as error:
            read_points(path, sample)
        assert "\n" not in str(error.value)

    def test_polygons_are_no_points(self, sample: tuple[Source, Source], tmp_path: Path) -> None:
        gpd.GeoDataFrame(geometry=[shapely.box(0, 0, 1, 1)], crs=4326).to_file(tmp_path / "a.gpkg")
        with pytest.raises(InputError, match="holds Polygon, no points"):
            read_points(tmp_path / "a.gpkg", sample)
        pyogrio.write_dataframe(pd.DataFrame({"ref_x": [1.0]}), tmp_path / "table.gpkg")
        with pytest.raises(InputError, match="has no layer with shapes, only tables"):
            read_points(tmp_path / "table.gpkg", sample)
        with pytest.raises(InputError, match="does not exist"):
            read_points(tmp_path / "none.csv", sample)


class TestMatching:
    def test_points_alone_are_fitted_and_judged(self, found: Registration) -> None:
        rows = moved(found, 30)
        own = imatch.match(*SAMPLE, points=rows, points_only=True)
        assert (own.status, own.matcher, own.n_matches) == ("ok", "points", 30)
        np.testing.assert_allclose(own.tie_points.ref_xy, rows[:, :2])
        fitted = (rows[:, 2:] - rows[:, :2])[own.tie_points.inlier].mean(axis=0)
        assert own.matrix is not None
        np.testing.assert_allclose(own.matrix[:2, 2], fitted, atol=0.2)
        assert own.provenance["points"]["used"] == 30
        assert own.n_check > 10
        # JSON-ready, the rows among the settings.
        back = Registration.from_dict(json.loads(json.dumps(own.to_dict())))
        assert len(back.provenance["config"]["points"]) == 30

    def test_too_few_to_check_are_uncertain(self, found: Registration) -> None:
        own = imatch.match(*SAMPLE, points=moved(found, 6), points_only=True)
        assert (own.status, own.reason[:26]) == ("uncertain", "only 6 tie points agree, 1")

    def test_points_that_contradict_one_another_have_no_answer(self, found: Registration) -> None:
        rows = moved(found, 12)
        rows[:, 2:] += np.random.default_rng(0).uniform(-40, 40, (12, 2))
        own = imatch.match(*SAMPLE, points=np.clip(rows, 0, 226), points_only=True)
        assert own.status != "ok"
        assert own.n_inliers < 10

    def test_points_of_another_pair_agree_but_the_images_do_not(self) -> None:
        x, y = np.meshgrid(np.arange(30, 200, 20), np.arange(30, 200, 20))
        xy = np.column_stack([x.ravel(), y.ravel()]).astype(float)
        own = imatch.match(
            *SAMPLE, points=np.hstack([xy, xy + np.array([19, 23])]), points_only=True
        )
        assert own.status == "uncertain"
        assert own.n_inliers == len(xy)

    def test_ground_that_repeats_itself_bears_out_no_points(self) -> None:
        """Points off by a period agree, and so do the images: as they do where it is not."""
        tile = cv2.resize(np.random.default_rng(2).random((8, 8)), (40, 40))
        ground = np.tile(tile, (8, 8)) + 0.002 * np.random.default_rng(3).random((320, 320))
        x, y = np.meshgrid(np.arange(30, 270, 30), np.arange(30, 270, 30))
        xy = np.column_stack([x.ravel(), y.ravel()]).astype(float)
        rows = np.hstack([xy, xy + np.array([40, 0])])
        own = imatch.match(ground, ground, points=rows, points_only=True)
        assert own.n_inliers == len(xy)
        assert own.status == "uncertain"

    def test_points_propose_what_a_matcher_does_not_find(self) -> None:
        """Ground turned by a right angle and other ground around it, four clicks on it."""
        rng = np.random.default_rng(1)
        ground = cv2.resize(rng.random((40, 40)), (320, 320), interpolation=cv2.INTER_CUBIC)
        other = cv2.resize(rng.random((80, 80)), (640, 640), interpolation=cv2.INTER_CUBIC)
        other[300:620, 300:620] = np.rot90(ground)
        ends = np.array([[20, 20], [280, 40], [120, 300], [60, 150.0]])
        rows = np.hstack([ends, np.column_stack([300 + ends[:, 1], 619 - ends[:, 0]])])
        rows[:, 2:] += rng.uniform(-1, 1, (4, 2))
        alone = imatch.match(ground, other, matcher="phase")
        helped = imatch.match(ground, other, matcher="phase", points=rows, refine=True)
        assert (alone.status == "ok", helped.status) == (False, "ok")
        assert helped.provenance["found_by"] == "points"
        automatic = imatch.match(ground, other, points=rows)
        assert (automatic.status, automatic.provenance["found_by"]) == ("ok", "points")

    def test_wrong_proposals_cost_no_answer(self) -> None:
        wrong = [(10, 10, 90, 90), (30, 10, 110, 92), (10, 60, 91, 140.0)]
        own = imatch.match(*SAMPLE, points=wrong)
        assert (own.status, own.provenance["found_by"]) == ("ok", "near")

    def test_register_takes_them_alone(self, found: Registration, tmp_path: Path) -> None:
        out = tmp_path / "out.tif"
        own = imatch.register(*SAMPLE, out, points=moved(found, 30), points_only=True)
        assert (own.status, own.matcher, out.exists()) == ("ok", "points", True)

    def test_what_makes_no_sense_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="points_only needs points"):
            imatch.match(*SAMPLE, points_only=True)
        with pytest.raises(ConfigError, match="rows of reference x, y and target x, y"):
            imatch.match(*SAMPLE, points=[(1, 2, 3)])
        with pytest.raises(ConfigError, match="tie points of one pair, not of many"):
            imatch.batch([SAMPLE], "out", points=[(1, 2, 3, 4)] * 3)
