"""Registers the sample in the window of the real QGIS, and takes a picture of it.

QGIS runs it (``qgis --code``), `tests.qgis.test_window` starts that. ``IMATCH_SHOT`` is the
picture to write, beside which a ``.json`` tells what came of it; ``IMATCH_SAMPLE`` the folder of
the sample.
"""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import processing
from qgis.core import QgsProject, QgsRasterLayer
from qgis.PyQt.QtCore import QSize, Qt, QTimer
from qgis.PyQt.QtWidgets import QDockWidget, QToolBar, QTreeView
from qgis.utils import iface

SHOT = Path(os.environ["IMATCH_SHOT"])
SAMPLE = Path(os.environ["IMATCH_SAMPLE"])
#: What to show; all else is in the way.
DOCKS = {"Layers": 500, "ProcessingToolbox": 230}
BARS = {"mFileToolBar", "mMapNavToolBar"}


def register() -> dict[str, str]:
    """Adds the sample and registers it; what came of it."""
    layers = []
    for name in ("bouconne_2018-08", "bouconne_2018-11"):
        layer = QgsRasterLayer(str(SAMPLE / f"{name}.tif"), name)
        QgsProject.instance().addMapLayer(layer)
        layers.append(layer)
    outputs = {"OUTPUT": "registered.tif", "TIE_POINTS": "tie_points.gpkg", "RESULT": "result.json"}
    found = processing.runAndLoadResults(
        "imatch:register",
        {
            "REFERENCE": layers[0],
            "TARGET": layers[1],
            **{name: str(SHOT.with_name(file)) for name, file in outputs.items()},
        },
    )
    return {name: str(value) for name, value in found.items()}


def arrange() -> None:
    """Makes the window one to look at."""
    window = iface.mainWindow()
    window.resize(QSize(1400, 780))
    for dock in window.findChildren(QDockWidget):
        dock.setVisible(dock.objectName() in DOCKS)
    for bar in window.findChildren(QToolBar):
        if bar.parent() is window:
            bar.setVisible(bar.objectName() in BARS)
    for name, width in DOCKS.items():
        dock = window.findChild(QDockWidget, name)
        window.resizeDocks([dock], [width], Qt.Horizontal)
    for node in QgsProject.instance().layerTreeRoot().findLayers():
        mine = ":" in node.name()
        node.setExpanded(mine)
        node.setItemVisibilityChecked(mine)
    for view in window.findChildren(QTreeView, "algorithmTree"):
        model = view.model()
        for row in range(model.rowCount()):
            index = model.index(row, 0)
            if index.data() == "imatch":
                view.expand(index)
                view.scrollTo(index, QTreeView.PositionAtTop)


def zoom() -> None:
    """Shows the tie points' surroundings."""
    layer = QgsProject.instance().layerTreeRoot().findLayers()[0].layer()
    extent = layer.extent()
    extent.grow(150)
    iface.mapCanvas().setExtent(extent)
    iface.mapCanvas().refreshAllLayers()


def shoot() -> None:
    """Writes the picture, and what the layers are called and the legend says."""
    iface.mainWindow().grab().save(str(SHOT))
    layers = [node.layer() for node in QgsProject.instance().layerTreeRoot().findLayers()]
    points, registered, source = layers[:3]
    tell(
        {
            "results": RESULTS,
            "layers": [layer.name() for layer in layers],
            "legend": [item.label() for item in points.renderer().legendSymbolItems()],
            "like_its_source": registered.renderer().redBand() == source.renderer().redBand(),
        }
    )


def tell(document: dict[str, Any]) -> None:
    """Writes what came of it, and ends QGIS without a question."""
    SHOT.with_suffix(".json").write_text(json.dumps(document))
    os._exit(0)


def step(function: Callable[[], None], then: Callable[[], None] | None, wait_ms: int) -> None:
    """Does something once events have been dealt with."""

    def run() -> None:
        try:
            function()
        except Exception:
            tell({"error": traceback.format_exc()})
        if then is not None:
            then()

    QTimer.singleShot(wait_ms, run)


RESULTS: dict[str, str] = {}
step(
    lambda: RESULTS.update(register()),
    lambda: step(arrange, lambda: step(zoom, lambda: step(shoot, None, 3000), 1000), 0),
    1000,
)
