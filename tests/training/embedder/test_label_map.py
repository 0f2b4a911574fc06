from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray

from imatch.core.errors import ConfigError, InputError
from imatch.training.embedder.chips import PlaceChips
from imatch.training.embedder.config import EmbedderLabelConfig
from imatch.training.embedder.label_map import LabelMap, one_hot

# As in conftest.py: tiles of 400 m from here.
LEFT, TOP, SIDE = 356_000.0, 4_835_000.0, 400.0


def write_map(path: Path, values: NDArray[Any], **profile: object) -> Path:
    """A raster of 100 m over the grid of tiles."""
    settings: dict[str, object] = {
        "driver": "GTiff",
        "count": 1,
        "height": values.shape[0],
        "width": values.shape[1],
        "dtype": values.dtype,
        "crs": "EPSG:32631",
        "transform": Affine(100, 0, LEFT, 0, -100, TOP),
    }
    with rasterio.open(path, "w", **(settings | profile)) as out:
        out.write(values, 1)
    return path


@pytest.fixture
def raster(tmp_path: Path) -> Path:
    """Class 30 in the west, 50 from the middle of the third column of tiles on, a hole of none."""
    values = np.full((20, 24), 30, np.uint8)
    values[:, 10:] = 50
    values[:4, :4] = 0
    return write_map(tmp_path / "map.tif", values, nodata=0)


def test_raster_gives_shares(raster: Path, data: Path) -> None:
    rows = PlaceChips(data, "train").rows
    found = LabelMap(EmbedderLabelConfig(path=raster))
    assert found.classes == (30, 50)
    shares = dict(zip([row.site for row in rows], found.shares(rows), strict=True))
    assert shares["grid/T31/x1_y0"].tolist() == [1, 0]
    assert shares["grid/T31/x2_y1"].tolist() == [0.5, 0.5]
    assert shares["grid/T31/x5_y1"].tolist() == [0, 1]
    assert shares["grid/T31/x0_y0"].tolist() == [0, 0]


def test_grid_lies_where_the_chip_lies(raster: Path, data: Path) -> None:
    rows = {row.site: row for row in PlaceChips(data, "train").rows}
    grid = LabelMap(EmbedderLabelConfig(path=raster)).grid(rows["grid/T31/x2_y1"], 8)
    assert (grid[:, :4] == 0).all()
    assert (grid[:, 4:] == 1).all()
    planes = one_hot(grid, 2)
    assert planes.shape == (2, 8, 8)
    assert (planes.sum(axis=0) == 1).all()


def test_chosen_classes_leave_the_others_out(raster: Path, data: Path) -> None:
    rows = {row.site: row for row in PlaceChips(data, "train").rows}
    found = LabelMap(EmbedderLabelConfig(path=raster, classes=(50, 70), min_known=0.4))
    shares = found.shares([rows["grid/T31/x2_y1"], rows["grid/T31/x1_y1"]])
    assert shares.tolist() == [[1, 0], [0, 0]]


def test_polygons_are_burnt(tmp_path: Path, data: Path) -> None:
    import geopandas
    from shapely import box

    bounds = (LEFT, TOP - 5 * SIDE, LEFT + 2.25 * SIDE, TOP)
    frame = geopandas.GeoDataFrame(
        {"use": ["forest", "lake"]},
        geometry=[box(*bounds), box(bounds[2], bounds[1], LEFT + 6 * SIDE, TOP)],
        crs="EPSG:32631",
    ).to_crs("EPSG:4326")
    path = tmp_path / "use.geojson"
    frame.to_file(path)
    rows = {row.site: row for row in PlaceChips(data, "train").rows}
    some = [rows["grid/T31/x0_y1"], rows["grid/T31/x2_y1"], rows["grid/T31/x5_y1"]]
    named = LabelMap(EmbedderLabelConfig(path=path, column="use"))
    assert named.classes == ("forest", "lake")
    assert np.allclose(named.shares(some), np.array([[1, 0], [0.25, 0.75], [0, 1]]), atol=0.02)
    frame.iloc[:1].to_file(tmp_path / "one.geojson")
    alone = LabelMap(EmbedderLabelConfig(path=tmp_path / "one.geojson"))
    assert alone.classes == ("rest", "polygon")
    assert np.allclose(alone.shares(some), np.array([[0, 1], [0.75, 0.25], [1, 0]]), atol=0.02)
    with pytest.raises(ConfigError, match="has no column 'kind'; it has use"):
        LabelMap(EmbedderLabelConfig(path=path, column="kind"))


def test_maps_that_cannot_be_used_are_explained(tmp_path: Path, data: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        LabelMap(EmbedderLabelConfig(path=tmp_path / "absent.tif"))
    floats = write_map(tmp_path / "float.tif", np.ones((4, 4), np.float32))
    with pytest.raises(InputError, match="holds float32 values, not classes"):
        LabelMap(EmbedderLabelConfig(path=floats))
    one = write_map(tmp_path / "one.tif", np.ones((4, 4), np.uint8))
    with pytest.raises(InputError, match=r"holds 1 class\(es\); two are needed"):
        LabelMap(EmbedderLabelConfig(path=one))
    away = write_map(
        tmp_path / "away.tif",
        np.arange(16, dtype=np.uint8).reshape(4, 4),
        transform=Affine(100, 0, 500_000, 0, -100, 100_000),
        nodata=99,
    )
    with pytest.raises(ConfigError, match="covers none of the chips"):
        LabelMap(EmbedderLabelConfig(path=away)).shares(PlaceChips(data, "val").rows)
    (tmp_path / "bad.geojson").write_text("{}")
    with pytest.raises(InputError, match="polygons"):
        LabelMap(EmbedderLabelConfig(path=tmp_path / "bad.geojson"))
