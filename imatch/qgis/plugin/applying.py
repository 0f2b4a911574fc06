"""Apply: a result on other files of the target's scene."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessing,
    QgsProcessingException,
    QgsProcessingOutputMultipleLayers,
    QgsProcessingParameterFile,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterMultipleLayers,
    QgsVectorLayer,
)

from .algorithm import ImatchAlgorithm, choice, load_layer, options_parameter, switch
from .answer import Answer
from .command import apply_command
from .layers import layer_part, layer_path
from .process import NOT_REGISTERED
from .styles import style_of


class ApplyAlgorithm(ImatchAlgorithm):
    """Puts a result to other rasters and vectors."""

    verb = "apply"
    title = "Apply"
    summary = "Corrects other rasters and vectors of the target's scene by a result."
    details = (
        "Other bands at any pixel size, masks and vectors, all in one go. The result is what"
        " <i>Match</i> or <i>Register</i> wrote. Rasters come back as GeoTIFF, vectors in their"
        " own format; they look like the layers they were made from.",
        "The whole files are done: filters and selections of layers do not count.",
    )

    def initAlgorithm(self, config: Any = None) -> None:
        """Adds its parameters."""
        self.add(
            QgsProcessingParameterFile("RESULT", "Result of Match or Register", extension="json"),
            QgsProcessingParameterMultipleLayers(
                "FILES", "Layers of the target's scene", QgsProcessing.TypeMapLayer
            ),
            switch("LOAD", "Add what was written to the map", default=True),
        )
        self.add(
            choice(
                "GRID",
                "Pixels to write on: the reference's, or their own",
                ["reference", "target"],
                "reference",
            ),
            choice(
                "RESAMPLING",
                "Resampling",
                ["auto", "nearest", "bilinear", "cubic", "lanczos"],
                "auto",
            ),
            switch("GEOTRANSFORM_ONLY", "Correct where rasters lie, and leave their pixels"),
            switch("FORCE", "Apply a result that is not ok"),
            options_parameter(),
            advanced=True,
        )
        self.add(QgsProcessingParameterFolderDestination("FOLDER", "Folder for what is written"))
        self.addOutput(QgsProcessingOutputMultipleLayers("OUTPUTS", "Corrected layers"))

    def prepareAlgorithm(self, parameters: Any, context: Any, feedback: Any) -> bool:
        """Takes what the dialog says; here layers may be asked."""
        names = ("RESULT", "LOAD", "GRID", "RESAMPLING", "GEOTRANSFORM_ONLY", "FORCE", "OPTIONS")
        self.take(parameters, context, names)
        layers = self.layers(parameters, context, "FILES")
        paths = [layer_path(layer) for layer in layers]
        self.values["FILES"] = [*dict.fromkeys(paths)]
        # By the name of the file that comes of each, which may hold several layers.
        self.sources: dict[str, list[tuple[str, str, Any]]] = {}
        for path, layer in zip(paths, layers):
            vector = isinstance(layer, QgsVectorLayer)
            name = Path(path).name if vector else f"{Path(path).stem}.tif"
            source = (layer.name(), layer_part(layer), style_of(layer))
            self.sources.setdefault(name, []).append(source)
        self.values["FOLDER"] = self.parameterAsString(parameters, "FOLDER", context)
        return True

    def processAlgorithm(self, parameters: Any, context: Any, feedback: Any) -> dict[str, Any]:
        """Runs ``imatch apply``."""
        try:
            verdict = Answer.read(self.values["RESULT"]).verdict
        except ValueError as error:
            raise QgsProcessingException(str(error)) from None
        self.values["FOLDER"] = self.parameterAsFileOutput(parameters, "FOLDER", context)
        folder = Path(self.values["FOLDER"])
        told = self.run_imatch(
            apply_command,
            feedback,
            outputs=[str(folder / name) for name in self.sources],
            codes=(0, 1, NOT_REGISTERED),
        )
        if not told.written:
            raise QgsProcessingException(told.complaint or "nothing was written")
        for line in told.errors:
            feedback.reportError(line)
        for path in told.written if self.values["LOAD"] else ():
            for name, part, style in self.sources.get(path.name, [(path.stem, "", None)]):
                title = f"{name} registered: {verdict}"
                load_layer(context, f"{path}{part}", title, "OUTPUTS", style=style)
        return {"FOLDER": str(folder), "OUTPUTS": [str(path) for path in told.written]}
