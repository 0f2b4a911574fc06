"""What happens to odd input inside the real QGIS: each case's outcome, as JSON.

`tests.qgis.test_inside` runs it in QGIS's own Python, which has neither pytest nor imatch:
``inside.py PROFILE SAMPLE FOLDER`` writes ``FOLDER/outcomes.json``.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
from osgeo import gdal, osr
from qgis.core import (
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsFeature,
    QgsGeometry,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingUtils,
    QgsProject,
    QgsRasterLayer,
    QgsVectorLayer,
)

PROFILE, SAMPLE, FOLDER = map(Path, sys.argv[1:4])
REFERENCE, TARGET = SAMPLE / "bouconne_2018-08.tif", SAMPLE / "bouconne_2018-11.tif"
PLACE = (356040.0, 10.0, 0.0, 4835680.0, 0.0, -10.0)
gdal.UseExceptions()


class Heard(QgsProcessingFeedback):
    """Keeps what an algorithm says, and may cancel it at the first progress."""

    def __init__(self, cancel: bool = False) -> None:
        super().__init__(False)
        self.said: dict[str, list[str]] = {"info": [], "warning": [], "error": [], "stage": []}
        self.percents: list[float] = []
        self.cancel_early = cancel
        self.running: list[str] = []
        self.progressChanged.connect(self.percents.append)

    def pushInfo(self, text: str) -> None:
        self.said["info"].append(text)

    def pushConsoleInfo(self, text: str) -> None:
        self.said["info"].append(text)

    def pushCommandInfo(self, text: str) -> None:
        self.said["info"].append(text)

    def pushWarning(self, text: str) -> None:
        self.said["warning"].append(text)

    def reportError(self, text: str, fatalError: bool = False) -> None:
        self.said["error"].append(text)

    def setProgressText(self, text: str) -> None:
        self.said["stage"].append(text)
        if self.cancel_early:
            self.running = processes()
            self.cancel()


def processes() -> list[str]:
    """Numbers of the processes that this one began, whatever began them."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[path.parent.name] = path.read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
    found, queue = [], [str(os.getpid())]
    while queue:
        queue = [pid for pid, parent in parents.items() if parent in queue]
        found += queue
    return found


def run(name: str, parameters: dict[str, Any], feedback: Any = None) -> dict[str, Any]:
    """Runs an algorithm as the dialog does; what came of it."""
    feedback = feedback or Heard()
    context = QgsProcessingContext()
    context.setProject(QgsProject.instance())
    algorithm = QgsApplication.processingRegistry().createAlgorithmById(f"imatch:{name}")
    defaults = {
        output.name(): f"{FOLDER}/temporary/{output.name()}"
        for output in algorithm.destinationParameterDefinitions()
        if output.name() == "FOLDER"
    }
    results, fine = algorithm.run({**defaults, **parameters}, context, feedback)
    return {
        "fine": fine,
        "results": {key: str(value) for key, value in results.items()},
        "percents": feedback.percents,
        "loads": {
            details.name: QgsProcessingUtils.mapLayerFromString(source, context).featureCount()
            if "layername" in source
            else 0
            for source, details in context.layersToLoadOnCompletion().items()
        },
        **feedback.said,
    }


def raster(name: str, pixels: Any, epsg: int | None = 32631) -> Path:
    """Writes a GeoTIFF, with or without a CRS."""
    path = FOLDER / name
    height, width = pixels.shape
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), width, height, 1, gdal.GDT_Byte)
    dataset.SetGeoTransform(PLACE)
    if epsg is not None:
        system = osr.SpatialReference()
        system.ImportFromEPSG(epsg)
        dataset.SetProjection(system.ExportToWkt())
    dataset.GetRasterBand(1).WriteArray(pixels)
    return path


def noise(seed: int) -> Any:
    """Ground of its own."""
    return np.random.default_rng(seed).integers(0, 255, (200, 200)).astype(np.uint8)


def layer(path: Path, name: str = "") -> Any:
    """A raster layer."""
    return QgsRasterLayer(str(path), name or path.stem)


def memory_layer(kind: str = "Polygon") -> Any:
    """A temporary layer of one feature over a corner of the sample."""
    made = QgsVectorLayer(f"{kind}?crs=EPSG:32631", "drawn", "memory")
    feature = QgsFeature()
    corner = "356040 4835680, 356600 4835680, 356600 4835200, 356040 4835200, 356040 4835680"
    feature.setGeometry(QgsGeometry.fromWkt(f"POLYGON(({corner}))"))
    made.dataProvider().addFeature(feature)
    return made


def pair(**more: Any) -> dict[str, Any]:
    """Parameters of a pair of the sample."""
    paths = {"TIE_POINTS": "tie_points.gpkg", "RESULT": "result.json"}
    outputs = {name: str(FOLDER / file) for name, file in paths.items()}
    return {"REFERENCE": layer(REFERENCE), "TARGET": layer(TARGET), **outputs, **more}


def memory() -> dict[str, Any]:
    """A temporary layer cannot be applied to: another program does not see it."""
    run("match", pair(RESULT=str(FOLDER / "kept.json")))
    result = str(FOLDER / "kept.json")
    return run("apply", {"RESULT": result, "FILES": [memory_layer()]})


def mask() -> dict[str, Any]:
    """A temporary layer of polygons is exported for a mask."""
    return run("match", pair(REF_MASK=memory_layer()))


def drawn_lines(count: int) -> Any:
    """A temporary layer of lines from where the target shows places to where they are."""
    made = QgsVectorLayer("LineString?crs=EPSG:32631", "lines", "memory")
    for number in range(count):
        x, y = 356500 + 700 * number, 4835300 - 300 * (number % 3)
        feature = QgsFeature()
        feature.setGeometry(QgsGeometry.fromWkt(f"LINESTRING({x - 9} {y}, {x} {y})"))
        made.dataProvider().addFeature(feature)
    return made


def points_drawn() -> dict[str, Any]:
    """Lines drawn by hand are proposed."""
    return run("match", pair(POINTS=drawn_lines(4)))


def points_edited() -> dict[str, Any]:
    """Tie points of an earlier run, some deleted and not saved yet, are fitted alone."""
    before = run("match", pair(TIE_POINTS=str(FOLDER / "edited.gpkg")))
    points = QgsVectorLayer(f"{FOLDER}/edited.gpkg|layername=tie_points", "points", "ogr")
    points.setSubsetString("inlier")
    points.startEditing()
    gone = [feature.id() for feature in points.getFeatures()][:7]
    points.deleteFeatures(gone)
    kept = points.featureCount()
    told = run("register", pair(POINTS=points, POINTS_ONLY=True, OUTPUT=str(FOLDER / "own.tif")))
    points.rollBack()
    used = json.loads((FOLDER / "result.json").read_text())["provenance"]["points"]["used"]
    return {**told, "kept": kept, "used": used, "before": before["fine"]}


def points_file() -> dict[str, Any]:
    """A file of the Georeferencer."""
    text = "mapX,mapY,sourceX,sourceY,enable\n"
    for number in range(5):
        x, y = 356500 + 500 * number, 4835200 - 350 * (number % 3)
        text += f"{x},{y},{(x - 356040) / 10 + 1},{-(4835680 - y) / 10},1\n"
    path = FOLDER / "own.points"
    path.write_text(f"#CRS: EPSG:32631\n{text}")
    return run("match", pair(POINTS_FILE=str(path)))


def points_twice() -> dict[str, Any]:
    """A layer and a file."""
    return run("match", pair(POINTS=drawn_lines(4), POINTS_FILE=str(FOLDER / "own.points")))


def points_none() -> dict[str, Any]:
    """None, which are to be fitted alone."""
    return run("match", pair(POINTS_ONLY=True))


def points_few() -> dict[str, Any]:
    """Fewer than say anything."""
    return run("match", pair(POINTS=drawn_lines(2)))


def points_table() -> dict[str, Any]:
    """A table without shapes, where a layer belongs."""
    return run("match", pair(POINTS=QgsVectorLayer("NoGeometry?field=a:int", "rows", "memory")))


def served() -> dict[str, Any]:
    """Tiles of a server are no file."""
    tiles = QgsRasterLayer("type=xyz&url=http://127.0.0.1:9/{z}/{x}/{y}.png", "tiles", "wms")
    return run("match", pair(TARGET=tiles))


def virtual() -> dict[str, Any]:
    """What lies in QGIS's own memory is no file."""
    gdal.GetDriverByName("GTiff").CreateCopy("/vsimem/a.tif", gdal.Open(str(TARGET)))
    return run("match", pair(TARGET=layer(Path("/vsimem/a.tif"))))


def no_crs() -> dict[str, Any]:
    """An image that does not say where it lies."""
    return run("match", pair(TARGET=layer(raster("bare.tif", noise(1), None))))


def no_crs_ignored() -> dict[str, Any]:
    """The same pixels twice, by their pixels alone."""
    bare = raster("bare.tif", noise(1), None)
    again = raster("again.tif", noise(1), None)
    return run("match", pair(REFERENCE=layer(bare), TARGET=layer(again), NO_GEOCODING=True))


def itself() -> dict[str, Any]:
    """One layer twice, as the dialog offers it."""
    return run("match", pair(REFERENCE=layer(TARGET)))


def rpcs() -> dict[str, Any]:
    """An image that RPCs locate has no CRS, and needs none."""
    from imatch_qgis.layers import image_path

    path = raster("rpcs.tif", noise(1), None)
    terms = {f"{line}_{part}_COEFF": "1 " * 20 for line in ("LINE", "SAMP") for part in NUM_DEN}
    scales = {f"{name}_{what}": "1" for name in RPC_NAMES for what in ("OFF", "SCALE")}
    dataset = gdal.Open(str(path), gdal.GA_Update)
    dataset.SetMetadata({**terms, **scales}, "RPC")
    dataset = None
    return {"path": image_path(layer(path), placed=True)}


NUM_DEN, RPC_NAMES = ("NUM", "DEN"), ("LINE", "SAMP", "LAT", "LONG", "HEIGHT")


def other_crs() -> dict[str, Any]:
    """A CRS that only the layer was told of."""
    changed = layer(TARGET)
    changed.setCrs(QgsCoordinateReferenceSystem("EPSG:32632"))
    return run("register", pair(TARGET=changed, OUTPUT=str(FOLDER / "out.tif")))


def gone() -> dict[str, Any]:
    """A file that was removed after its layer was added."""
    path = raster("gone.tif", noise(2))
    removed = layer(path)
    path.unlink()
    return run("match", pair(TARGET=removed))


def not_there() -> dict[str, Any]:
    """A layer whose file never was."""
    return run("match", pair(TARGET="/nowhere.tif"))


def vector_as_image() -> dict[str, Any]:
    """Polygons where an image belongs."""
    return run("match", pair(TARGET=memory_layer()))


def quote() -> dict[str, Any]:
    """Options that end in the middle."""
    return run("match", pair(OPTIONS="--seed '1"))


def applied() -> dict[str, Any]:
    """A result on a raster and two layers of one file, which are to be added to the map."""
    run("match", pair(RESULT=str(FOLDER / "kept.json"), TIE_POINTS=str(FOLDER / "kept.gpkg")))
    kept = f"{FOLDER}/kept.gpkg|layername="
    points = QgsVectorLayer(f"{kept}tie_points", "points", "ogr")
    lines = QgsVectorLayer(f"{kept}shift_vectors", "lines", "ogr")
    files = [layer(TARGET, "red"), points, lines]
    return run("apply", {"RESULT": str(FOLDER / "kept.json"), "FILES": files})


def stacked() -> dict[str, Any]:
    """Two dates, which are to be added to the map."""
    return run("stack", {"IMAGES": [layer(REFERENCE), layer(TARGET)], "RUN": 2})


def batched() -> dict[str, Any]:
    """A pair that is ok and one that is not: the others are done all the same."""
    targets = [layer(TARGET), layer(raster("one.tif", noise(3)))]
    return run("batch", {"REFERENCE": layer(REFERENCE), "TARGETS": targets, "RUN": 2})


def no_result() -> dict[str, Any]:
    """A file that is no result, where one belongs."""
    return run("apply", {"RESULT": str(FOLDER / "tie_points.gpkg"), "FILES": [layer(TARGET)]})


def different() -> dict[str, Any]:
    """Match of two places: no error, and no answer."""
    one, two = layer(raster("one.tif", noise(3))), layer(raster("two.tif", noise(4)))
    return run("match", pair(REFERENCE=one, TARGET=two))


def different_registered() -> dict[str, Any]:
    """Register of two places: an error, and no file."""
    out = FOLDER / "different.tif"
    one, two = layer(raster("one.tif", noise(3))), layer(raster("two.tif", noise(4)))
    told = run("register", pair(REFERENCE=one, TARGET=two, OUTPUT=str(out)))
    return {**told, "written": out.exists()}


def cancelled() -> dict[str, Any]:
    """A run that is cancelled once it has begun, of images that take it seconds."""
    out = FOLDER / "cancelled" / "out.tif"
    large = {}
    for name, path in (("REFERENCE", REFERENCE), ("TARGET", TARGET)):
        enlarged = FOLDER / f"large_{path.stem}.tif"
        gdal.Translate(str(enlarged), str(path), widthPct=1600, heightPct=1600, resampleAlg="cubic")
        large[name] = layer(enlarged)
    outputs = {"OUTPUT": out, "TIE_POINTS": out.with_suffix(".gpkg"), "RESULT": FOLDER / "c.json"}
    feedback = Heard(cancel=True)
    begun = time.monotonic()
    paths = {name: str(path) for name, path in outputs.items()}
    told = run("register", pair(**paths, **large), feedback)
    told["seconds"] = time.monotonic() - begun
    told["left"] = [path.name for path in out.parent.iterdir()] + processes()
    told["ran"] = feedback.running
    return told


def overwritten() -> dict[str, Any]:
    """The same outputs twice, the first loaded meanwhile."""
    out = FOLDER / "twice.tif"
    run("register", pair(OUTPUT=str(out), LOCAL="none"))
    loaded = layer(out)
    return {**run("register", pair(OUTPUT=str(out), LOCAL="none")), "valid": loaded.isValid()}


def old() -> dict[str, Any]:
    """An imatch that is older than the plugin."""
    return with_setting("#!/bin/sh\necho imatch 0.1.0\n")


def broken() -> dict[str, Any]:
    """An imatch whose environment is damaged."""
    return with_setting("#!/bin/sh\necho 'ImportError: no torch' >&2\nexit 1\n")


def with_setting(program: str) -> dict[str, Any]:
    """A match by the program that the settings name."""
    from processing.core.ProcessingConfig import ProcessingConfig

    path = FOLDER / "chosen"
    path.write_text(program)
    path.chmod(0o755)
    ProcessingConfig.setSettingValue("IMATCH_EXECUTABLE", str(path))
    try:
        return run("match", pair())
    finally:
        ProcessingConfig.setSettingValue("IMATCH_EXECUTABLE", "")


def offline() -> dict[str, Any]:
    """The setting that forbids requests."""
    from processing.core.ProcessingConfig import ProcessingConfig

    ProcessingConfig.setSettingValue("IMATCH_OFFLINE", True)
    try:
        return run("match", pair())
    finally:
        ProcessingConfig.setSettingValue("IMATCH_OFFLINE", False)


def described() -> dict[str, Any]:
    """What the toolbox and the settings show."""
    from processing.core.ProcessingConfig import ProcessingConfig

    provider = QgsApplication.processingRegistry().providerById("imatch")
    algorithms = provider.algorithms()
    return {
        "names": sorted(algorithm.displayName() for algorithm in algorithms),
        "help": [algorithm.shortHelpString() for algorithm in algorithms],
        "settings": sorted(name for name in ProcessingConfig.settings if name.startswith("IMATCH")),
        "icon": not provider.icon().isNull(),
    }


def styled() -> dict[str, Any]:
    """Tie points as another QGIS finds them, with their style in the file."""
    run("match", pair(TIE_POINTS=str(FOLDER / "styled.gpkg")))
    points = QgsVectorLayer(f"{FOLDER}/styled.gpkg|layername=tie_points", "points", "ogr")
    rules = points.renderer().rootRule().children()
    counts = []
    for rule in rules:
        points.setSubsetString(rule.filterExpression())
        counts.append(points.featureCount())
    points.setSubsetString("")
    return {
        "labels": [rule.label() for rule in rules],
        "counts": counts,
        "points": points.featureCount(),
        "generators": [rule.symbol().symbolLayer(0).layerType() for rule in rules],
        "colours": [rule.symbol().symbolLayers()[-1].color().name() for rule in rules],
    }


CASES = (
    described,
    memory,
    mask,
    points_drawn,
    points_edited,
    points_file,
    points_twice,
    points_none,
    points_few,
    points_table,
    served,
    virtual,
    no_crs,
    no_crs_ignored,
    rpcs,
    itself,
    other_crs,
    gone,
    not_there,
    vector_as_image,
    quote,
    applied,
    stacked,
    batched,
    no_result,
    different,
    different_registered,
    cancelled,
    overwritten,
    old,
    broken,
    offline,
    styled,
)


def main() -> None:
    """Runs every case."""
    application = QgsApplication([], False)
    application.initQgis()
    sys.path[:0] = ["/usr/share/qgis/python/plugins", str(PROFILE / "python" / "plugins")]
    from imatch_qgis import classFactory
    from processing.core.Processing import Processing

    Processing.initialize()
    plugin = classFactory(None)
    plugin.initProcessing()
    outcomes: dict[str, Any] = {}
    for case in CASES:
        try:
            outcomes[case.__name__] = case()
        except QgsProcessingException as error:
            outcomes[case.__name__] = {"fine": False, "error": [str(error)]}
        except Exception:
            outcomes[case.__name__] = {"traceback": traceback.format_exc()}
    plugin.unload()
    (FOLDER / "outcomes.json").write_text(json.dumps(outcomes))
    os._exit(0)  # QGIS 3.22 may crash as Python takes its layers down.


main()
