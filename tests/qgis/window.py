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
from qgis.core import QgsProcessingOutputLayerDefinition, QgsProject, QgsRasterLayer
from qgis.PyQt.QtCore import QSize, Qt, QTimer
from qgis.PyQt.QtWidgets import QDockWidget, QTextEdit, QToolBar, QTreeView
from qgis.utils import iface

SHOT = Path(os.environ["IMATCH_SHOT"])
SAMPLE = Path(os.environ["IMATCH_SAMPLE"])
#: What to show; all else is in the way.
DOCKS = {"Layers": 500, "ProcessingToolbox": 185}
BARS = {"mFileToolBar", "mMapNavToolBar"}


def add_sample() -> None:
    """Adds the sample to the map, as dropping both files on the window does."""
    for name in ("bouconne_2018-08", "bouconne_2018-11"):
        layer = QgsRasterLayer(str(SAMPLE / f"{name}.tif"), name)
        project.addMapLayer(layer)
        iface.setActiveLayer(layer)


def open_dialog() -> None:
    """Opens Register, which offers the chosen layer as both images, and chooses the reference."""
    DIALOG.append(processing.createAlgorithmDialog("imatch:register"))
    (dialog,) = DIALOG
    offered = dialog.mainWidget().createProcessingParameters()
    TOLD["offered"] = [project.mapLayer(offered[name]).name() for name in ("REFERENCE", "TARGET")]
    (reference,) = project.mapLayersByName("bouconne_2018-08")
    dialog.setParameters({"REFERENCE": reference})
    dialog.resize(QSize(900, 560))
    dialog.show()


def press_run() -> None:
    """Runs it, as the button does, once the dialog is drawn."""
    (dialog,) = DIALOG
    dialog.grab().save(str(SHOT.with_name(f"{SHOT.stem}_dialog.png")))
    # Else the layers carry the badge of temporary files.
    files = {"OUTPUT": "registered.tif", "TIE_POINTS": "tie_points.gpkg"}
    dialog.setParameters(
        {
            name: QgsProcessingOutputLayerDefinition(str(SHOT.with_name(file)), project)
            for name, file in files.items()
        }
    )
    dialog.runButton().click()


def close_dialog() -> None:
    """Keeps what the log says, and closes the dialog."""
    (dialog,) = DIALOG
    TOLD["log"] = "".join(text.toPlainText() for text in dialog.findChildren(QTextEdit))
    dialog.close()


def arrange() -> None:
    """Makes the window one to look at."""
    window = iface.mainWindow()
    window.resize(QSize(1200, 700))
    for dock in window.findChildren(QDockWidget):
        dock.setVisible(dock.objectName() in DOCKS)
    for bar in window.findChildren(QToolBar):
        if bar.parent() is window:
            bar.setVisible(bar.objectName() in BARS)
    for name, width in DOCKS.items():
        dock = window.findChild(QDockWidget, name)
        window.resizeDocks([dock], [width], Qt.Horizontal)
    for node in project.layerTreeRoot().findLayers():
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
    layer = project.layerTreeRoot().findLayers()[0].layer()
    extent = layer.extent()
    extent.grow(150)
    iface.mapCanvas().setExtent(extent)
    iface.mapCanvas().refreshAllLayers()


def shoot() -> None:
    """Writes the picture, and what the layers are called and the legend says."""
    iface.messageBar().clearWidgets()
    iface.mainWindow().grab().save(str(SHOT))
    layers = [node.layer() for node in project.layerTreeRoot().findLayers()]
    points, registered, source = layers[:3]
    TOLD["layers"] = [layer.name() for layer in layers]
    TOLD["legend"] = [item.label() for item in points.renderer().legendSymbolItems()]
    TOLD["like_its_source"] = registered.renderer().redBand() == source.renderer().redBand()
    end()


def end() -> None:
    """Writes what came of it, and ends QGIS without a question."""
    SHOT.with_suffix(".json").write_text(json.dumps(TOLD, default=str))
    os._exit(0)


def follow(steps: list[tuple[Callable[[], None], int]]) -> None:
    """Does one thing after another, each once events have been dealt with for a time."""
    if not steps:
        return
    (function, wait_ms), *later = steps

    def run() -> None:
        try:
            function()
        except Exception:
            TOLD["error"] = traceback.format_exc()
            end()
        follow(later)

    QTimer.singleShot(wait_ms, run)


def wait_for_layers(patience: int = 400) -> None:
    """Goes on once the results are on the map, or their time is up."""
    if len(project.mapLayers()) < 4 and patience:
        QTimer.singleShot(300, lambda: wait_for_layers(patience - 1))
        return
    follow([(close_dialog, 500), (arrange, 0), (zoom, 1000), (shoot, 3000)])


project = QgsProject.instance()
DIALOG: list[Any] = []
TOLD: dict[str, Any] = {}
follow([(add_sample, 1000), (open_dialog, 500), (press_run, 1000), (wait_for_layers, 0)])
