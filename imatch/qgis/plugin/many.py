"""Algorithms on many images: Stack and Batch."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessing,
    QgsProcessingException,
    QgsProcessingOutputHtml,
    QgsProcessingOutputMultipleLayers,
    QgsProcessingOutputNumber,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFile,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterLayer,
    QgsProcessingUtils,
)

from .algorithm import (
    MATCHING_NAMES,
    ImatchAlgorithm,
    load_layer,
    matching_parameters,
    switch,
    text,
)
from .answer import bound_text
from .command import batch_command, stack_command
from .layers import image_path
from .process import NOT_REGISTERED
from .styles import style_of

_RUNS = ("stop", "go on with it", "begin anew")
_COMMON = (*MATCHING_NAMES, "WARP", "JOBS", "RUN")


class ManyAlgorithm(ImatchAlgorithm):
    """An algorithm that registers many images, and writes a folder."""

    def add_common(self, warp: str) -> None:
        """Adds what such algorithms share, and their outputs.

        Args:
            warp: What to call the switch for writing rasters.
        """
        self.add(switch("WARP", warp, default=True))
        jobs = QgsProcessingParameterNumber("JOBS", "Worker processes", defaultValue=1, minValue=1)
        self.add(
            jobs,
            QgsProcessingParameterEnum(
                "RUN", "If the folder holds a run already", options=[*_RUNS], defaultValue=0
            ),
            *matching_parameters(),
            advanced=True,
        )
        self.add(QgsProcessingParameterFolderDestination("FOLDER", "Folder for what is written"))
        self.addOutput(QgsProcessingOutputHtml("REPORT", "Report"))
        self.addOutput(QgsProcessingOutputMultipleLayers("OUTPUTS", "Registered images"))
        self.addOutput(QgsProcessingOutputNumber("REGISTERED", "Number that are ok"))

    def take_layers(self, layers: list[Any]) -> list[str]:
        """Files of raster layers, whose styles are remembered.

        Raises:
            QgsProcessingException: One is no file, or does not say where it lies.
        """
        placed = not self.values.get("NO_GEOCODING")
        paths = [image_path(layer, placed=placed) for layer in layers]
        for path, layer in zip(paths, layers):
            self.styles[path] = style_of(layer)
        return paths

    def prepareAlgorithm(self, parameters: Any, context: Any, feedback: Any) -> bool:
        """Takes what the dialog says; here layers may be asked."""
        self.styles: dict[str, Any] = {}
        self.take(parameters, context, _COMMON)
        return True

    def results(self, context: Any, rows: list[tuple[str, str, str]]) -> dict[str, Any]:
        """Loads the registered images of a run.

        Args:
            context: Of the run.
            rows: Name of each image, what it was made from, and its verdict.
        """
        folder = Path(self.values["FOLDER"])
        written = []
        for name, source, verdict in rows:
            path = folder / "registered" / f"{name}.tif"
            if path.exists():
                written.append(str(path))
                style = self.styles.get(source)
                load_layer(context, str(path), f"{name}: {verdict}", "OUTPUTS", style=style)
        return {
            "FOLDER": str(folder),
            "REPORT": str(folder / "report.html"),
            "OUTPUTS": written,
            "REGISTERED": sum(verdict.startswith("ok") for _, _, verdict in rows),
        }


class StackAlgorithm(ManyAlgorithm):
    """Ties images of many dates together."""

    verb = "stack"
    title = "Stack"
    summary = "Ties images of one place together that were taken on many dates."
    details = (
        "Where two dates do not match, others lead from one to the other: pairs are matched one by"
        " one, and all transforms are solved together from them. Images that nothing ties are"
        " named in the report.",
    )

    def initAlgorithm(self, config: Any = None) -> None:
        """Adds its parameters."""
        images = QgsProcessingParameterMultipleLayers(
            "IMAGES", "Images of one place", QgsProcessing.TypeRaster
        )
        images.setMinimumNumberInputs(2)
        self.add(
            images,
            QgsProcessingParameterRasterLayer(
                "REFERENCE", "Reference (the most central one if left out)", optional=True
            ),
        )
        self.add(
            text("PAIRS", "Pairs to match: auto, all, reference or neighbours:K", "auto"),
            advanced=True,
        )
        self.add_common("Write every image that is ok onto the reference's pixels")

    def prepareAlgorithm(self, parameters: Any, context: Any, feedback: Any) -> bool:
        """Takes what the dialog says."""
        super().prepareAlgorithm(parameters, context, feedback)
        self.take(parameters, context, ("PAIRS",))
        self.values["IMAGES"] = self.take_layers(self.layers(parameters, context, "IMAGES"))
        self.take_images(parameters, context, ("REFERENCE",))
        return True

    def processAlgorithm(self, parameters: Any, context: Any, feedback: Any) -> dict[str, Any]:
        """Runs ``imatch stack``."""
        self.values["FOLDER"] = self.parameterAsFileOutput(parameters, "FOLDER", context)
        told = self.run_imatch(stack_command, feedback)
        if told.code == NOT_REGISTERED:
            feedback.pushWarning(told.complaint)
        folder = Path(self.values["FOLDER"])
        document = json.loads((folder / "stack.json").read_text(encoding="utf-8"))
        rows = [
            (image["name"], image["path"], _verdict(image["status"], image, "corner_ci95_"))
            for image in document["images"]
        ]
        return self.results(context, rows)


class BatchAlgorithm(ManyAlgorithm):
    """Registers many pairs."""

    verb = "batch"
    title = "Batch"
    summary = "Registers many targets to a reference, or the pairs of a table."
    details = (
        "Choose a reference and its targets, or a table (CSV) with the columns <i>reference</i> and"
        " <i>target</i>, whose paths start from its own folder. A pair that fails never stops the"
        " others; the report names it.",
    )

    def initAlgorithm(self, config: Any = None) -> None:
        """Adds its parameters."""
        self.add(
            QgsProcessingParameterRasterLayer("REFERENCE", "Reference", optional=True),
            QgsProcessingParameterMultipleLayers(
                "TARGETS", "Targets", QgsProcessing.TypeRaster, optional=True
            ),
            QgsProcessingParameterFile(
                "TABLE", "Or a table of pairs", extension="csv", optional=True
            ),
        )
        self.add_common("Register whole scenes, and write each that is ok")

    def prepareAlgorithm(self, parameters: Any, context: Any, feedback: Any) -> bool:
        """Takes what the dialog says."""
        super().prepareAlgorithm(parameters, context, feedback)
        self.take(parameters, context, ("TABLE",))
        targets = self.take_layers(self.layers(parameters, context, "TARGETS"))
        self.take_images(parameters, context, ("REFERENCE",))
        reference, table = self.values["REFERENCE"], self.values["TABLE"]
        if bool(table) == bool(reference or targets) or bool(reference) != bool(targets):
            raise QgsProcessingException(
                "choose a reference and targets, or a table of pairs, not both"
            )
        if not table:
            self.values["TABLE"] = table = QgsProcessingUtils.generateTempFilename("pairs.csv")
            with Path(table).open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(("reference", "target"))
                writer.writerows((reference, target) for target in targets)
        return True

    def processAlgorithm(self, parameters: Any, context: Any, feedback: Any) -> dict[str, Any]:
        """Runs ``imatch batch``."""
        self.values["FOLDER"] = self.parameterAsFileOutput(parameters, "FOLDER", context)
        told = self.run_imatch(batch_command, feedback, codes=(0, 1, NOT_REGISTERED))
        if told.errors:
            raise QgsProcessingException(told.complaint)
        table = Path(self.values["FOLDER"]) / "results.csv"
        with table.open(encoding="utf-8", newline="") as file:
            found = list(csv.DictReader(file))
        for row in found:
            if row["status"] != "ok":
                why = row["error"] or row["reason"]
                feedback.pushWarning(f"{row['name']}: {row['status']}: {why}")
        return self.results(
            context, [(r["name"], r["target"], _verdict(r["status"], r, "bound_")) for r in found]
        )


def _verdict(status: str, row: Any, prefix: str) -> str:
    """A status and its bound, as ``"ok ± 7.4 m"``."""
    metres, px = (_number(row[prefix + unit]) for unit in ("m", "px"))
    bound = bound_text(metres, px)
    return f"{status} ± {bound}" if bound else status


def _number(value: Any) -> float | None:
    return None if value in (None, "") else float(value)
