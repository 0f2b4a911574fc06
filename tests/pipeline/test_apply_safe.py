"""A whole Sentinel-2 product: every raster, mask and file of it, or nothing."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS

from imatch.core.errors import ImatchError, InputError, OutputError
from imatch.geometry.correction import Correction
from imatch.pipeline.apply_safe import SafeCounts, apply_safe
from imatch.pipeline.mapping import Mapping
from imatch.pipeline.result import ImageSummary

PLACE = Affine(10, 0, 600000, 0, -10, 5000040)
UTM31 = CRS.from_epsg(32631)
SIDE_M = 3600
NAME = "S2A_MSIL2A_20180823T105019_N0208_R051_T31TCJ_20180823T160135.SAFE"
GRANULE = "GRANULE/L2A_T31TCJ_A016557_20180823T105018"
TILE = "T31TCJ_20180823T105019"
RASTERS = {
    f"{GRANULE}/IMG_DATA/R10m/{TILE}_B04_10m.jp2": (10, "uint16", 1),
    f"{GRANULE}/IMG_DATA/R10m/{TILE}_TCI_10m.jp2": (10, "uint8", 3),
    f"{GRANULE}/IMG_DATA/R20m/{TILE}_SCL_20m.jp2": (20, "uint8", 1),
    f"{GRANULE}/IMG_DATA/R60m/{TILE}_B01_60m.jp2": (60, "uint16", 1),
    f"{GRANULE}/QI_DATA/MSK_CLDPRB_20m.jp2": (20, "uint8", 1),
}
GML = """<?xml version="1.0" encoding="UTF-8"?>
<eop:Mask xmlns:eop="http://www.opengis.net/eop/2.0" xmlns:gml="http://www.opengis.net/gml/3.2"
 gml:id="MSK">
 <gml:boundedBy><gml:Envelope srsName="urn:ogc:def:crs:EPSG::32631">
 <gml:lowerCorner>600000 4996440</gml:lowerCorner><gml:upperCorner>603600 5000040</gml:upperCorner>
 </gml:Envelope></gml:boundedBy>
 <eop:maskMembers>{members}</eop:maskMembers>
</eop:Mask>"""
CLOUD = """<eop:MaskFeature gml:id="OPAQUE.0"><eop:maskType>OPAQUE</eop:maskType>
 <eop:extentOf><gml:Polygon gml:id="P.0" srsName="urn:ogc:def:crs:EPSG::32631"><gml:exterior>
 <gml:LinearRing><gml:posList srsDimension="2">601000 4998000 601000 4999000 602000 4999000
 602000 4998000 601000 4998000</gml:posList></gml:LinearRing></gml:exterior></gml:Polygon>
 </eop:extentOf></eop:MaskFeature>"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small product, with all that a real one has."""
    folder = tmp_path_factory.mktemp("s2") / NAME
    x, y = np.meshgrid(np.arange(360), np.arange(360))
    for name, (gsd, dtype, count) in RASTERS.items():
        step = gsd // 10
        # A slope on the ground, the same at every pixel size.
        slope = (x + 2 * y).reshape(360 // step, step, 360 // step, step).mean(axis=(1, 3))
        pixels = slope / 5 + 20 if dtype == "uint8" else 1000 + slope
        if "SCL" in name:
            pixels = 4 + 7 * (slope % 50 > 25)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with rasterio.open(
            folder / name, "w", driver="JP2OpenJPEG", count=count, dtype=dtype,
            width=360 // step, height=360 // step, crs=UTM31, QUALITY=100, REVERSIBLE="YES",
            transform=PLACE @ Affine.scale(step),
        ) as out:  # fmt: skip
            out.write(np.repeat(pixels[None], count, axis=0).astype(dtype))
    (folder / "MTD_MSIL2A.xml").write_text("<product/>")
    (folder / GRANULE / "MTD_TL.xml").write_text("<tile/>")
    (folder / "HTML").mkdir()
    (folder / "HTML" / "star_bg.jpg").write_bytes(b"picture")
    quality = folder / GRANULE / "QI_DATA"
    (quality / "MSK_CLOUDS_B00.gml").write_text(GML.format(members=CLOUD))
    (quality / "MSK_NODATA_B01.gml").write_text(GML.format(members=""))
    # Reading leaves side-cars, which a product has not.
    for file in folder.rglob("*.aux.xml"):
        file.unlink()
    return folder


@pytest.fixture
def product(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built, tmp_path / NAME)
    return tmp_path / NAME


def mapping_of() -> Mapping:
    """Everything lies 30 m too far east and 60 m too far south."""
    shift = np.array([[1, 0, 30.0], [0, 1, -60.0], [0, 0, 1]])
    image = ImageSummary("a", 360, 360, (), "EPSG:32631", tuple(PLACE)[:6])
    return Mapping(Correction(shift), image, image, True)


def check(out: Path) -> None:
    for name, (gsd, dtype, count) in RASTERS.items():
        with rasterio.open((out / name).with_suffix(".tif")) as dataset:
            assert dataset.driver == "GTiff"
            assert (dataset.count, dataset.dtypes[0]) == (count, dtype)
            assert dataset.transform == PLACE @ Affine.scale(gsd // 10)
            pixels = dataset.read(1).astype(float)
        rows, columns = np.indices(pixels.shape)
        inner = np.s_[3:-10, 3:-10]
        step = gsd / 10
        # Ground that lies at (x, y) was found 3 columns and 6 rows further.
        slope = step * (columns + 0.5) - 0.5 + 3 + 2 * (step * (rows + 0.5) - 0.5 + 6)
        if "SCL" in name:
            assert set(np.unique(pixels)) <= {0, 4, 11}
        elif dtype == "uint16":
            assert np.abs(pixels - 1000 - slope)[inner].max() <= 1
        elif "TCI" in name:
            assert np.abs(pixels - slope / 5 - 20)[inner].max() <= 1
    assert (out / "MTD_MSIL2A.xml").read_text() == "<product/>"
    assert (out / GRANULE / "MTD_TL.xml").read_text() == "<tile/>"
    assert (out / "HTML" / "star_bg.jpg").read_bytes() == b"picture"
    quality = out / GRANULE / "QI_DATA"
    cloud = geopandas.read_file(quality / "MSK_CLOUDS_B00.gpkg")
    assert cloud.crs.to_epsg() == 32631
    assert cloud.total_bounds == pytest.approx((600970, 4998060, 601970, 4999060))
    assert (quality / "MSK_NODATA_B01.gml").read_text() == GML.format(members="")
    files = {file.name for file in out.rglob("*") if file.is_file()}
    assert len(files) == len(RASTERS) + 5
    assert not [name for name in files if name.endswith((".jp2", ".gfs", ".xsd", ".aux.xml"))]


def test_a_folder(product: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / NAME
    out.parent.mkdir()
    shares: list[float] = []
    counts = apply_safe(mapping_of(), product, out, on_progress=shares.append)
    assert counts == SafeCounts(rasters=5, vectors=1, copied=4)
    assert sum(shares) == pytest.approx(1)
    check(out)
    assert [file.name for file in out.parent.iterdir()] == [NAME]
    # And from its metadata file, over what is there.
    (out / "old.txt").write_text("old")
    with pytest.raises(OutputError, match="already exists"):
        apply_safe(mapping_of(), product, out)
    assert (out / "old.txt").exists()
    apply_safe(mapping_of(), product / "MTD_MSIL2A.xml", out, overwrite=True)
    check(out)


@pytest.mark.parametrize("inner", [True, False])
def test_a_zip(product: Path, tmp_path: Path, inner: bool) -> None:
    path, out = tmp_path / "product.zip", tmp_path / "out.SAFE"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(product.rglob("*")):
            archive.write(file, file.relative_to(product.parent if inner else product))
    assert apply_safe(mapping_of(), path, out).rasters == 5
    check(out)


def test_one_pixel_size_for_all(product: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.SAFE"
    bounds = (600600, 4999000, 601800, 4999600)
    apply_safe(mapping_of(), product, out, res=30, bounds=bounds, cog=True)
    for name in RASTERS:
        with rasterio.open((out / name).with_suffix(".tif")) as dataset:
            assert dataset.shape == (21, 40)
            assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


def test_a_broken_band_costs_the_whole(product: Path, tmp_path: Path) -> None:
    band = product / f"{GRANULE}/IMG_DATA/R60m/{TILE}_B01_60m.jp2"
    band.write_bytes(band.read_bytes()[:60])
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(ImatchError, match=r"B01_60m\.jp2"):
        apply_safe(mapping_of(), product, folder / "out.SAFE")
    assert not list(folder.iterdir())


def test_what_is_no_product(product: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.SAFE"
    band = product / next(iter(RASTERS))
    with pytest.raises(InputError, match="no Sentinel-2 product"):
        apply_safe(mapping_of(), band, out)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="without a Sentinel-2 product"):
        apply_safe(mapping_of(), tmp_path / "empty", out)
    with pytest.raises(OutputError, match="product to be read"):
        apply_safe(mapping_of(), product, product, overwrite=True)
    with pytest.raises(OutputError, match="folder does not exist"):
        apply_safe(mapping_of(), product, tmp_path / "none" / "out.SAFE")
    out.write_text("file")
    with pytest.raises(OutputError, match=r"already exists|is a file"):
        apply_safe(mapping_of(), product, out)
    assert out.read_text() == "file"


def packed(product: Path, path: Path, **more: bytes) -> Path:
    """The product as a zip, and further members."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(product.rglob("*")):
            archive.write(file, file.relative_to(product.parent))
        for name, content in more.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("{outside}", "leads out"),
        ("../../evil.txt", "leads out"),
        (f"{NAME}/../../evil.txt", "leads out"),
        (f"{NAME}\\..\\..\\evil.txt", "leads out"),
        ("C:\\evil.txt", "leads out"),
        ("{outside}.jp2", "leads out"),
        (f"{NAME}/mtd_msil2a.XML", "two files that would have one name"),
        (f"{NAME}/{GRANULE}/IMG_DATA/R60m/{TILE}_B01_60m.tif", "two files"),
    ],
)
def test_names_in_an_archive_stay_inside(
    product: Path, tmp_path: Path, name: str, why: str
) -> None:
    outside = tmp_path / "precious.txt"
    outside.write_text("precious")
    path = packed(product, tmp_path / "a.zip", **{name.format(outside=outside): b"evil"})
    folder = tmp_path / "out"
    folder.mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=why) as caught:
        apply_safe(mapping_of(), path, folder / "out.SAFE")
    assert str(caught.value).startswith(str(path))
    assert outside.read_text() == "precious"
    assert sorted(tmp_path.rglob("*")) == before


def test_links_are_not_followed_out(product: Path, tmp_path: Path) -> None:
    path = packed(product, tmp_path / "a.zip")
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo(f"{NAME}/HTML/link.txt")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(InputError, match="holds a link"):
        apply_safe(mapping_of(), path, tmp_path / "out.SAFE")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "file.txt").write_text("secret")
    for target in (tmp_path / "secret" / "file.txt", tmp_path / "secret"):
        (product / "HTML" / "link").symlink_to(target)
        with pytest.raises(InputError, match="leads out"):
            apply_safe(mapping_of(), product, tmp_path / "out.SAFE")
        (product / "HTML" / "link").unlink()
    assert not (tmp_path / "out.SAFE").exists()


def test_an_archive_is_bounded(product: Path, tmp_path: Path) -> None:
    bomb = packed(product, tmp_path / "a.zip", **{f"{NAME}/HTML/zeros.bin": bytes(90_000_000)})
    out = tmp_path / "out.SAFE"
    with pytest.raises(InputError, match=r"takes 0.09.* GB or more .*--max-unpacked"):
        apply_safe(mapping_of(), bomb, out)
    assert not out.exists()
    apply_safe(mapping_of(), bomb, out, max_unpacked=10**9)
    assert (out / "HTML" / "zeros.bin").stat().st_size == 90_000_000
    # A raster counts by its pixels, however little it takes itself.
    sparse = tmp_path / "sparse.tif"
    with rasterio.open(
        sparse, "w", driver="GTiff", width=30000, height=30000, count=1, dtype="uint8",
        crs=UTM31, transform=PLACE, SPARSE_OK=True, tiled=True,
    ):  # fmt: skip
        pass
    more = {f"{NAME}/{GRANULE}/IMG_DATA/x.tif": sparse.read_bytes()}
    path = packed(product, tmp_path / "b.zip", **more)
    with pytest.raises(InputError, match=r"takes 0.9.* GB or more"):
        apply_safe(mapping_of(), path, tmp_path / "other.SAFE")


def test_a_link_at_the_output_is_there(product: Path, tmp_path: Path) -> None:
    kept, out = tmp_path / "kept", tmp_path / "out.SAFE"
    kept.mkdir()
    for target in (kept, tmp_path / "nowhere"):
        out.symlink_to(target)
        with pytest.raises(OutputError, match="already exists"):
            apply_safe(mapping_of(), product, out)
        apply_safe(mapping_of(), product, out, overwrite=True)
        assert not out.is_symlink()
        shutil.rmtree(out)
    assert list(kept.iterdir()) == []
    assert not (tmp_path / "nowhere").exists()
