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
from rasterio.shutil import copy
from shapely.geometry import box

from imatch.core.errors import ImatchError, InputError, OutputError
from imatch.geometry.transform import Transform
from imatch.pipeline.apply.sentinel2 import SafeCounts, apply_safe
from imatch.pipeline.registration.geo_correction import GeoCorrection
from imatch.pipeline.registration.result import ImageSummary

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


def mapping_of() -> GeoCorrection:
    """Everything lies 30 m too far east and 60 m too far south."""
    shift = np.array([[1, 0, 30.0], [0, 1, -60.0], [0, 0, 1]])
    image = ImageSummary("a", 360, 360, (), "EPSG:32631", tuple(PLACE)[:6])
    return GeoCorrection(Transform("translation", shift), image, image, True)


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
    # A raster counts by the pixels that are written, however little it takes itself.
    sparse = tmp_path / "sparse.tif"
    with rasterio.open(
        sparse, "w", driver="GTiff", width=30000, height=30000, count=1, dtype="uint8",
        crs=UTM31, transform=PLACE, SPARSE_OK=True, tiled=True,
    ):  # fmt: skip
        pass
    more = {f"{NAME}/{GRANULE}/IMG_DATA/x.tif": sparse.read_bytes()}
    path = packed(product, tmp_path / "b.zip", **more)
    with pytest.raises(InputError, match=r"takes 0.9.* GB or more"):
        apply_safe(mapping_of(), path, tmp_path / "other.SAFE", grid="target")


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


@pytest.mark.parametrize("packed_as", ["zip", "folder"])
@pytest.mark.parametrize("suffix", [".tif", ".jp2"])
def test_a_raster_that_is_none_brings_nothing_in(
    product: Path, tmp_path: Path, packed_as: str, suffix: str
) -> None:
    """A VRT of such a name would have GDAL read whatever file it names."""
    secret, folder = tmp_path / "secret.tif", tmp_path / "out"
    with rasterio.open(
        secret, "w", driver="GTiff", width=360, height=360, count=1, dtype="uint8",
        crs=UTM31, transform=PLACE,
    ) as dataset:  # fmt: skip
        dataset.write(np.full((1, 360, 360), 42, dtype=np.uint8))
    copy(secret, tmp_path / "a.vrt", driver="VRT")
    content = (
        (tmp_path / "a.vrt").read_bytes().replace(b'relativeToVRT="1">', b'relativeToVRT="0">')
    )
    content = content.replace(b">secret.tif<", f">{secret}<".encode())
    place = f"{GRANULE}/IMG_DATA/secret{suffix}"
    (product / place).write_bytes(content)
    path = packed(product, tmp_path / "a.zip") if packed_as == "zip" else product
    folder.mkdir()
    with pytest.raises(InputError, match="neither TIFF nor JPEG 2000"):
        apply_safe(mapping_of(), path, folder / "out.SAFE")
    assert not list(folder.iterdir())


def test_a_mask_that_is_an_ogr_vrt_is_copied_as_it_is(product: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.gpkg"
    geopandas.GeoSeries([box(600000, 4999000, 600100, 4999100)], crs=32631).to_file(secret)
    text = (
        f'<OGRVRTDataSource><OGRVRTLayer name="secret"><SrcDataSource>{secret}</SrcDataSource>'
        "</OGRVRTLayer></OGRVRTDataSource>"
    )
    (product / GRANULE / "QI_DATA" / "MSK_SECRET.gml").write_text(text)
    out = tmp_path / "out.SAFE"
    apply_safe(mapping_of(), product, out)
    assert (out / GRANULE / "QI_DATA" / "MSK_SECRET.gml").read_text() == text
    assert not (out / GRANULE / "QI_DATA" / "MSK_SECRET.gpkg").exists()


def test_members_that_cannot_be_unpacked_are_told_in_one_line(
    product: Path, tmp_path: Path
) -> None:
    for name in ("HTML/star_bg.jpg", next(iter(RASTERS))):
        whole = packed(product, tmp_path / "whole.zip").read_bytes()
        with zipfile.ZipFile(tmp_path / "whole.zip") as archive:
            entry = archive.getinfo(f"{NAME}/{name}")
        at = whole.rindex(f"{NAME}/{name}".encode())  # In the directory at the end.
        encrypted, unknown, wrong = (bytearray(whole) for _ in range(3))
        encrypted[at - 46 + 8] |= 1
        unknown[at - 46 + 10] = 99
        # The data of the member, behind its own header.
        wrong[entry.header_offset + 30 + len(entry.filename) + 2] ^= 0xFF
        for kind, content in (("e", encrypted), ("u", unknown), ("w", wrong)):
            path, folder = tmp_path / f"{kind}.zip", tmp_path / f"out-{kind}"
            path.write_bytes(content)
            folder.mkdir(exist_ok=True)
            with pytest.raises(ImatchError) as caught:
                apply_safe(mapping_of(), path, folder / "out.SAFE")
            assert caught.value.subject is not None
            assert str(path) in caught.value.subject
            assert not list(folder.iterdir())


def test_what_would_be_written_is_what_is_bounded(product: Path, tmp_path: Path) -> None:
    """A small raster whose pixels claim to be tiny becomes a large one on the reference's grid."""
    tiny = product / GRANULE / "IMG_DATA" / "tiny.tif"
    with rasterio.open(
        tiny, "w", driver="GTiff", width=50, height=50, count=1, dtype="uint8",
        crs=UTM31, transform=PLACE @ Affine.scale(0.02),
    ) as dataset:  # fmt: skip
        dataset.write(np.ones((1, 50, 50), dtype=np.uint8))
    for path, bound in ((packed(product, tmp_path / "a.zip"), None), (product, 10**8)):
        with pytest.raises(InputError, match=r"takes .* GB or more"):
            apply_safe(mapping_of(), path, tmp_path / "out.SAFE", max_unpacked=bound)
    assert not (tmp_path / "out.SAFE").exists()


def test_a_mask_does_not_take_anothers_name(product: Path, tmp_path: Path) -> None:
    quality = product / GRANULE / "QI_DATA"
    (quality / "MSK_CLOUDS_B00.gpkg").write_bytes(b"another")
    with pytest.raises(InputError, match="two files that would have one name"):
        apply_safe(mapping_of(), product, tmp_path / "out.SAFE")
