from __future__ import annotations

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from shapely.geometry import Polygon

from imatch.core.errors import InputError
from imatch.core.settings import make_settings
from imatch.datasets.config import PrepareConfig
from imatch.datasets.prepare.scan import AlignedScenes, Scene, SceneCatalogue
from imatch.datasets.prepare.sites import Site, plan_sites
from imatch.raster import RasterInfo
from imatch.raster.geodesy import apply_affine, reproject_points

UTM31, UTM32 = CRS.from_epsg(32631), CRS.from_epsg(32632)


def scene(
    name: str,
    *,
    source: str = "a",
    size: tuple[int, int] = (512, 512),
    gsd: float = 10.0,
    corner: tuple[float, float] = (700_000, 4_800_000),
    crs: CRS | None = UTM31,
    date: str = "20180701",
) -> Scene:
    transform = Affine.identity() if crs is None else Affine(gsd, 0, corner[0], 0, -gsd, corner[1])
    info = RasterInfo(
        None, *size, 1, ("uint8",), ("1",), transform, crs, None, "GTiff", name=f"{name}.tif"
    )
    return Scene(f"{name}.tif", source, date, "", info, name, gsd)


def config(**values: object) -> PrepareConfig:
    names = ("a", "b")
    sources = [{"name": name, "images": ["*.tif"]} for name in names]
    return make_settings(PrepareConfig, {"sources": sources, "chip": 64, **values})


def footprint(site: Site) -> Polygon:
    """The ground of a site in UTM 31N, whatever zone its images are in."""
    column, row, width, height = site.window
    corners = [(0, 0), (width, 0), (width, height), (0, height)]
    assert site.group.crs is not None
    on_map = apply_affine(site.group.transform, np.array(corners) + np.array([column, row]))
    return Polygon(reproject_points(on_map, site.group.crs, UTM31))


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 99),
    stride=st.sampled_from([24, 48, 64]),
    gsd=st.sampled_from([10.0, 20.0, 35.0]),
    east=st.integers(-200, 300),
    guard=st.sampled_from([None, 0.7, 1.0]),
)
def test_no_ground_is_in_two_splits(
    seed: int, stride: int, gsd: float, east: int, guard: float | None
) -> None:
    # Two sources, two GSDs, and a neighbouring tile in the next UTM zone that overlaps the first.
    over_there = reproject_points([(700_000 + 10.0 * east, 4_799_000)], UTM31, UTM32)[0]
    found = SceneCatalogue(
        (
            scene("one"),
            scene("other", date="20190101"),
            scene("coarse", source="b", gsd=gsd, size=(300, 260), corner=(699_500, 4_800_300)),
            scene("next", corner=(float(over_there[0]), float(over_there[1])), crs=UTM32),
        ),
        (),
        (),
    )
    settings_ = config(stride=stride, seed=seed, guard=guard)
    plan = plan_sites(found, settings_)
    assert {site.split for site in plan.sites} == {"train", "val"}
    assert len({site.group.place for site in plan.sites}) == 1
    ground = {
        split: np.array([footprint(site) for site in plan.sites if site.split == split])
        for split in ("train", "val")
    }
    far = shapely.distance(ground["train"][:, None], ground["val"][None])
    # Along x or y; the zones' grids are turned against each other by a degree or two.
    assert far.min() > 0.9 * settings_.guard_chips * settings_.chip * 10.0
    assert len({site.name for site in plan.sites}) == len(plan.sites)


def test_chips_of_one_split_lie_within_the_images() -> None:
    plan = plan_sites(SceneCatalogue((scene("one", size=(500, 333)),), (), ()), config())
    for site in plan.sites:
        column, row, width, height = site.window
        assert column >= 0
        assert row >= 0
        assert (width, height) == (64, 64)
        assert column + width <= 500
        assert row + height <= 333


def test_what_is_left_over_gets_a_chip_that_overlaps() -> None:
    plan = plan_sites(
        SceneCatalogue((scene("one", size=(150, 64)),), (), ()), config(split=(1.0,), stride=64)
    )
    assert [site.window[0] for site in plan.sites] == [0, 64, 86]


def test_places_of_very_different_gsd_are_divided_apart() -> None:
    world = scene("world", source="b", gsd=5000.0, size=(600, 600), corner=(0, 6_000_000))
    plan = plan_sites(SceneCatalogue((scene("one"), world), (), ()), config())
    assert len({site.group.place for site in plan.sites}) == 2


def test_events_are_never_divided() -> None:
    groups = tuple(
        AlignedScenes(
            (scene(f"{event}{i}", crs=None, size=(128, 128)),) * 2,
            place=event,
            name=f"{event}{i}",
        )
        for event in ("E1", "E2", "E3")
        for i in range(4)
    )
    plan = plan_sites(SceneCatalogue((), groups, ()), config())
    splits = {site.group.place: set[str]() for site in plan.sites}
    for site in plan.sites:
        splits[site.group.place].add(site.split)
    assert all(len(names) == 1 for names in splits.values())
    assert {name for names in splits.values() for name in names} == {"train", "val"}
    assert len(plan.sites) == 3 * 4 * 4


def test_one_small_place_cannot_be_divided() -> None:
    found = SceneCatalogue((scene("one", size=(100, 100)),), (), ())
    with pytest.raises(InputError, match=r"the only place, .*, is not large enough to be divided"):
        plan_sites(found, config())
    plan = plan_sites(found, config(split=(1.0, 0.0)))
    expected = [(0, 0, 64, 64), (36, 0, 64, 64), (0, 36, 64, 64), (36, 36, 64, 64)]
    assert [site.window for site in plan.sites] == expected


def test_a_small_place_beside_a_large_one_is_told() -> None:
    small = scene("small", source="b", size=(60, 50), corner=(300_000, 4_000_000))
    plan = plan_sites(SceneCatalogue((scene("one"), small), (), ()), config())
    assert [site.window for site in plan.sites if site.group.source == "b"] == [(0, 0, 60, 50)]
    assert plan.notes[0].startswith("b: ")
    assert plan.notes[0].endswith("cannot be divided, all of it is in train")


def test_bounds_crop_the_ground() -> None:
    source = {
        "name": "a",
        "images": ["*.tif"],
        "bounds": (700_000, 4_797_000, 702_000, 4_800_000),
        "bounds_crs": "EPSG:32631",
    }
    settings_ = make_settings(PrepareConfig, {"sources": [source], "chip": 64, "split": "1/0"})
    plan = plan_sites(SceneCatalogue((scene("one"),), (), ()), settings_)
    for site in plan.sites:
        assert footprint(site).bounds[2] <= 702_000 + 1e-6
    assert max(site.window[1] + site.window[3] for site in plan.sites) <= 300


def test_nothing_at_all_is_said() -> None:
    with pytest.raises(InputError, match="no image can be used"):
        plan_sites(SceneCatalogue((), (), ()), config())
