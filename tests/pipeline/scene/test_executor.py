from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from scipy.ndimage import gaussian_filter

from imatch.core.errors import ImatchError
from imatch.pipeline.scene.executor import TileExecutor
from imatch.pipeline.scene.measure import TileResult, measure_tile, read_tile
from imatch.pipeline.scene.reading import ImageSide
from imatch.pipeline.scene.tiles import TileTask, plan_level, plan_tiles
from imatch.raster import open_source, stretch_limits

SHIFT = (2.0, -3.0)


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> tuple[ImageSide, ImageSide]:
    """One texture twice, the second time moved by whole pixels."""
    folder = tmp_path_factory.mktemp("pool")
    rng = np.random.default_rng(0)
    texture = sum(
        gaussian_filter(rng.normal(size=(620, 620)), sigma) * sigma for sigma in (1.5, 4, 9)
    )
    made = []
    for name, (x, y) in (("ref", (0, 0)), ("tgt", SHIFT)):
        left, top = 10 - int(x), 10 - int(y)
        pixels = (2000 + 300 * texture[top : top + 600, left : left + 600]).astype(np.uint16)
        path = folder / f"{name}.tif"
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            width=600,
            height=600,
            count=1,
            dtype="uint16",
            crs="EPSG:32631",
            transform=Affine(10, 0, 6e5, 0, -10, 5e6),
        ) as out:
            out.write(pixels[None])
        source = open_source(path)
        made.append(ImageSide(source, stretch_limits(source.read())))
    return made[0], made[1]


@pytest.fixture
def tasks(sides: tuple[ImageSide, ImageSide]) -> list[TileTask]:
    info = sides[0].source.info
    level = plan_level(
        0,
        (1, 1),
        info,
        last=True,
        window=64,
        tile=256,
        spacing=60.0,
        max_points=None,
        share=1.0,
        radius=8,
    )
    assert level is not None
    return plan_tiles(level, sides[1].source.info, lambda xy: xy)[0]


def by_key(batches: Sequence[Sequence[TileResult]]) -> dict[tuple[int, int, int], TileResult]:
    return {result.key: result for batch in batches for result in batch}


def test_a_tile_finds_the_ground_wherever_its_windows_lie(
    sides: tuple[ImageSide, ImageSide], tasks: list[TileTask]
) -> None:
    for task in tasks:
        result = measure_tile(*sides, task)
        assert result.outcome == "measured"
        assert len(result.peak) >= 0.8 * len(task.areas)
        np.testing.assert_allclose(
            result.tgt_xy - result.ref_xy, [SHIFT] * len(result.peak), atol=0.1
        )
        again = TileResult.from_dict(result.to_dict())
        np.testing.assert_array_equal(again.tgt_xy, result.tgt_xy)
        assert (again.key, again.outcome) == (result.key, "measured")


@pytest.mark.parametrize("remote", [False, True])
def test_threads_give_what_one_gives(
    sides: tuple[ImageSide, ImageSide],
    tasks: list[TileTask],
    monkeypatch: pytest.MonkeyPatch,
    remote: bool,
) -> None:
    expected = by_key(list(TileExecutor(*sides, 1).run(tasks)))
    if remote:
        monkeypatch.setattr(sides[1].source, "remote", ("/vsicurl/somewhere",))
    found = by_key(list(TileExecutor(*sides, 3).run(tasks)))
    assert expected.keys() == found.keys() == {task.key for task in tasks}
    for key, result in expected.items():
        np.testing.assert_array_equal(found[key].tgt_xy, result.tgt_xy)
        np.testing.assert_array_equal(found[key].peak, result.peak)


def test_no_more_is_read_ahead_than_is_needed(
    sides: tuple[ImageSide, ImageSide], tasks: list[TileTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory must not grow with the scene: reading waits for whoever takes the results."""
    read: list[TileTask] = []

    def counted(ref: ImageSide, tgt: ImageSide, task: TileTask) -> Any:
        read.append(task)
        return read_tile(ref, tgt, task)

    monkeypatch.setattr("imatch.pipeline.scene.executor.read_tile", counted)
    running = TileExecutor(*sides, 2).run(2 * tasks)
    next(running)
    assert len(read) <= 4 < len(2 * tasks)
    running.close()  # What has begun ends with it.
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("tile")]


def test_an_unreadable_image_is_told(
    sides: tuple[ImageSide, ImageSide], tasks: list[TileTask], tmp_path: Path
) -> None:
    path = tmp_path / "gone.tif"
    path.write_bytes(Path(str(sides[1].source.info.path)).read_bytes())
    lost = ImageSide(open_source(path), sides[1].limits)
    path.unlink()
    with pytest.raises(ImatchError, match=r"gone\.tif"):
        list(TileExecutor(sides[0], lost, 2).run(tasks))


def test_no_network_library_is_loaded_to_measure() -> None:
    code = "import sys, imatch.pipeline.scene.measure; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
