"""What QGIS loads: the plugin, the provider of its algorithms, and its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from processing.core.ProcessingConfig import ProcessingConfig, Setting
from qgis.core import QgsApplication, QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from .algorithm import EXECUTABLE, OFFLINE
from .applying import ApplyAlgorithm
from .many import BatchAlgorithm, StackAlgorithm
from .pair import MatchAlgorithm, RegisterAlgorithm, SameGroundAlgorithm

_ICON = str(Path(__file__).with_name("icon.svg"))
_NAME = "imatch"


class ImatchProvider(QgsProcessingProvider):
    """The algorithms of imatch in the Processing toolbox."""

    def load(self) -> bool:
        """Adds the settings, and the algorithms with them."""
        ProcessingConfig.settingIcons[_NAME] = self.icon()
        settings = (
            Setting(
                _NAME,
                EXECUTABLE,
                "Executable of imatch",
                "",
                valuetype=Setting.FILE,
                placeholder="found by itself",
            ),
            Setting(_NAME, OFFLINE, "Make no request to other hosts", False),
        )
        for setting in settings:
            ProcessingConfig.addSetting(setting)
        ProcessingConfig.readSettings()
        self.refreshAlgorithms()
        return True

    def unload(self) -> None:
        """Removes the settings."""
        for name in (EXECUTABLE, OFFLINE):
            ProcessingConfig.removeSetting(name)

    def loadAlgorithms(self) -> None:
        """Adds the algorithms."""
        for algorithm in (
            MatchAlgorithm,
            RegisterAlgorithm,
            ApplyAlgorithm,
            StackAlgorithm,
            BatchAlgorithm,
            SameGroundAlgorithm,
        ):
            self.addAlgorithm(algorithm())

    def id(self) -> str:
        """The first part of the algorithms' ids, as in ``imatch:register``."""
        return "imatch"

    def name(self) -> str:
        """Its name in the toolbox."""
        return _NAME

    def icon(self) -> Any:
        """Its picture in the toolbox."""
        return QIcon(_ICON)

    def svgIconPath(self) -> str:
        """Its picture as a file."""
        return _ICON

    def supportedOutputRasterLayerExtensions(self) -> list[str]:
        """Rasters are written as GeoTIFF."""
        return ["tif"]

    def supportedOutputVectorLayerExtensions(self) -> list[str]:
        """Tie points are written as GeoPackage, which keeps their style, or as GeoJSON."""
        return ["gpkg", "geojson"]

    def defaultVectorFileExtension(self, hasGeometry: bool = True) -> str:
        """Of temporary tie points."""
        return "gpkg"

    def supportsNonFileBasedOutput(self) -> bool:
        """All outputs are files: another process writes them."""
        return False


class ImatchPlugin:
    """Adds the provider to QGIS, and takes it away again."""

    def __init__(self) -> None:
        self.provider: Any = None

    def initProcessing(self) -> None:
        """Adds the provider, as ``qgis_process`` asks."""
        self.provider = ImatchProvider()
        QgsApplication.processingRegistry().addProvider(self.provider)

    def initGui(self) -> None:
        """Adds the provider, as the window asks."""
        self.initProcessing()

    def unload(self) -> None:
        """Takes the provider away."""
        if self.provider is not None:
            QgsApplication.processingRegistry().removeProvider(self.provider)
            self.provider = None
