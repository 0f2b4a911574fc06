from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import geopandas
import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.core.errors import ConfigError, InputError
from imatch.retrieval.embedders.base import ChipEmbedder
from imatch.retrieval.index.build import add_images, find_images, remove_images
from imatch.retrieval.index.embed import ground_size
from imatch.retrieval.index.folder import STRUCTURE, FolderStore
from imatch.retrieval.index.manifest import IndexManifest, ModelFacts

if TYPE_CHECKING:
    from tests.conftest import Web

WriteImage = Callable[..., Path]
MakeMeans = Callable[..., ChipEmbedder]


def manifest(embedder: ChipEmbedder, **settings: object) -> IndexManifest:
    return IndexManifest(model=ModelFacts.of(embedder), **settings)  # type: ignore[arg-type]


def test_images_become_an_index(archive: list[Path], tmp_path: Path, means: ChipEmbedder) -> None:
    index = tmp_path / "index"
    done: list[float] = []
    started: list[int] = []
    grown = add_images(
        index,
        [tmp_path / "archive"],
        means,
        manifest(means),
        on_start=started.append,
        on_image=done.append,
    )
    # 7 x 5 chips of 64 px every 32 px.
    assert (grown.added, grown.chips, grown.images, grown.rows) == (3, 105, 3, 105)
    assert (started, done, grown.skipped) == ([3], [1, 1, 1], [])
    frame = geopandas.read_parquet(index / "footprints.parquet")
    assert list(frame.columns) == ["row", "image", "left", "top", "width", "height", "geometry"]
    assert frame["row"].tolist() == list(range(105))
    assert set(frame["image"]) == {str(path) for path in archive}
    # 640 m a side.
    area = frame.geometry.to_crs("EPSG:32631").area
    assert np.allclose(area, 640**2, rtol=1e-3)
    assert frame.crs.to_string() == "OGC:CRS84"


def test_what_is_there_is_left_and_what_changed_is_done_again(
    archive: list[Path], tmp_path: Path, means: ChipEmbedder, write_image: WriteImage
) -> None:
    index = tmp_path / "index"
    add_images(index, archive[:2], means, manifest(means))
    before = FolderStore.open(index).vectors[:35].copy()
    # The same images by other names, and twice.
    link = tmp_path / "link.tif"
    link.symlink_to(archive[0])
    grown = add_images(index, [*archive, link, archive[2]], means, manifest(means))
    assert (grown.added, grown.unchanged, grown.images) == (1, 2, 3)
    os.utime(archive[0], ns=(1, 1))
    grown = add_images(index, archive, means, manifest(means))
    assert (grown.added, grown.replaced, grown.unchanged, grown.rows) == (0, 1, 2, 105)
    store = FolderStore.open(index)
    rows = store.images[str(archive[0])].rows
    assert np.allclose(store.vectors[rows.start : rows.stop], before)


def test_an_interrupted_run_goes_on(
    archive: list[Path], tmp_path: Path, means: ChipEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = tmp_path / "index"
    embed = type(means).embed
    calls = 0

    def stopped(self: ChipEmbedder, *chips: NDArray[Any]) -> NDArray[np.float32]:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise KeyboardInterrupt
        return embed(self, *chips)

    monkeypatch.setattr(type(means), "embed", stopped)
    with pytest.raises(KeyboardInterrupt):
        add_images(index, archive, means, manifest(means))
    monkeypatch.undo()
    # The first image took two batches and is whole; the second was cut off.
    assert len(FolderStore.open(index)) == 35
    grown = add_images(index, archive, means, manifest(means))
    assert (grown.unchanged, grown.added, grown.rows) == (1, 2, 105)
    whole = tmp_path / "whole"
    add_images(whole, archive, means, manifest(means))
    assert np.array_equal(FolderStore.open(index).vectors, FolderStore.open(whole).vectors)


def test_what_cannot_be_read_is_skipped_and_listed(
    archive: list[Path], tmp_path: Path, means: ChipEmbedder, write_image: WriteImage
) -> None:
    broken = tmp_path / "archive" / "broken.tif"
    broken.write_bytes(archive[0].read_bytes()[:700])
    empty = tmp_path / "archive" / "empty.png"
    empty.touch()
    blank = write_image("archive/blank.tif", np.full((80, 80), 7, np.uint8))
    index = tmp_path / "index"
    grown = add_images(index, [tmp_path / "archive", tmp_path / "gone.tif"], means, manifest(means))
    assert (grown.added, grown.images) == (3, 3)
    reasons = {Path(item.path).name: item.reason for item in grown.skipped}
    assert set(reasons) == {broken.name, empty.name, blank.name, "gone.tif"}
    assert reasons["blank.tif"] == "shows too little valid ground"
    assert "no such file" in reasons["gone.tif"]
    with pytest.raises(InputError, match="no image could be used; of 1 the first"):
        add_images(tmp_path / "none", [blank], means, manifest(means))


def test_an_empty_folder_is_an_error(tmp_path: Path, means: ChipEmbedder) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no images"):
        add_images(tmp_path / "index", [tmp_path / "empty"], means, manifest(means))
    assert not (tmp_path / "index").exists()


def test_one_image_is_enough(archive: list[Path], tmp_path: Path, means: ChipEmbedder) -> None:
    grown = add_images(tmp_path / "index", archive[:1], means, manifest(means))
    assert grown.images == 1


def test_another_model_and_other_settings_are_refused(
    archive: list[Path], tmp_path: Path, make_means: MakeMeans
) -> None:
    index, means = tmp_path / "index", make_means()
    add_images(index, archive[:1], means, manifest(means))
    other = make_means("coarse", grid=4)
    with pytest.raises(InputError, match=r"was made with means \(\w{8}\), not with coarse"):
        add_images(index, archive, other, manifest(other))
    newer = make_means(grid=4)
    with pytest.raises(InputError, match="was made with other weights or settings of means"):
        add_images(index, archive, newer, manifest(newer))
    with pytest.raises(ConfigError, match=r"was made with stride 0\.5, not 0\.25"):
        add_images(index, archive, means, manifest(means, stride=0.25))
    assert len(FolderStore.open(index)) == 35


def test_too_few_bands_are_listed(
    archive: list[Path], tmp_path: Path, make_means: MakeMeans, write_image: WriteImage
) -> None:
    four = make_means("four", bands=4)
    good = write_image("four.tif", np.random.default_rng(0).integers(0, 255, (4, 64, 64), np.uint8))
    grown = add_images(
        tmp_path / "index",
        [archive[0], good],
        four,
        manifest(four, band_list=(1, 2, 3, 4)),
    )
    assert grown.images == 1
    assert "band" in grown.skipped[0].reason


def test_images_are_removed(archive: list[Path], tmp_path: Path, means: ChipEmbedder) -> None:
    index = tmp_path / "index"
    add_images(index, archive, means, manifest(means))
    assert remove_images(index, [archive[1]]) == (1, 35)
    frame = geopandas.read_parquet(index / "footprints.parquet")
    assert (len(frame), set(frame["image"])) == (70, {str(archive[0]), str(archive[2])})
    with pytest.raises(InputError, match="is not in the index"):
        remove_images(index, [archive[1]])
    assert remove_images(index, [tmp_path / "archive"]) == (2, 70)
    assert len(FolderStore.open(index)) == 0
    assert add_images(index, archive, means, manifest(means)).rows == 105


def test_a_structure_is_built_with_the_index(
    archive: list[Path], tmp_path: Path, means: ChipEmbedder
) -> None:
    index = tmp_path / "index"
    add_images(index, archive, means, manifest(means, structure="ivf"))
    assert (FolderStore.open(index).folder / STRUCTURE).is_file()


def test_images_without_geocoding_have_no_outline(tmp_path: Path, means: ChipEmbedder) -> None:
    path = tmp_path / "plain.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (70, 90, 3), np.uint8))
    index = tmp_path / "index"
    add_images(index, [path], means, manifest(means))
    frame = geopandas.read_parquet(index / "footprints.parquet")
    assert frame.geometry.isna().all()
    assert FolderStore.open(index).images[str(path)].gsd_m is None


def test_images_are_named_once(tmp_path: Path, archive: list[Path]) -> None:
    named = find_images([archive[0], tmp_path / "archive", "/vsicurl/http://x/y.tif"])
    assert named == [*map(str, archive), "/vsicurl/http://x/y.tif"]


def test_the_size_of_a_pixel_is_that_of_a_square() -> None:
    from affine import Affine

    from imatch.raster import array_source

    image = array_source(
        np.zeros((9, 9)), transform=Affine(10, 0, 4e5, 0, -40, 5e6), crs="EPSG:32631"
    )
    assert ground_size(image.info) == pytest.approx(20, rel=0.01)


def test_signed_urls_are_read_whole_and_kept_without_their_query(
    archive: list[Path], tmp_path: Path, means: ChipEmbedder, web: Web
) -> None:
    (web.root / "a.tif").write_bytes(archive[0].read_bytes())
    url = web.url("a.tif", user="me:pw", query="?sig=1")
    index = tmp_path / "index"
    growth = add_images(index, [url, f"{url}0"], means, manifest(means))
    assert growth.added == 1
    assert [item.path for item in growth.skipped] == [web.url("a.tif")]
    assert any("sig=1" in asked for asked in web.asked())
    files = [path for path in index.rglob("*") if path.is_file()]
    assert files
    assert not any(b"sig=1" in path.read_bytes() for path in files)
    assert add_images(index, [f"{url}00"], means, manifest(means)).unchanged == 1
    assert remove_images(index, [url])[0] == 1
