"""What the algorithms share: their parameters, and how they run imatch."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from processing.core.ProcessingConfig import ProcessingConfig
from qgis.core import (
    QgsProcessing,
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingParameterBand,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFile,
    QgsProcessingParameterMapLayer,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
    QgsProcessingUtils,
    QgsVectorFileWriter,
    QgsVectorLayer,
)
from qgis.PyQt.QtGui import QIcon

from .executable import ExecutableError, check_version, find_executable
from .layers import image_path, layer_path
from .process import NOT_REGISTERED, RunCancelledError, RunFailedError, Told, run
from .styles import LayerDresser

#: Settings under Settings > Options > Processing > Providers > imatch.
EXECUTABLE, OFFLINE = "IMATCH_EXECUTABLE", "IMATCH_OFFLINE"


class ImatchAlgorithm(QgsProcessingAlgorithm):
    """An algorithm that runs a verb of imatch; the verbs derive from it.

    Attributes:
        verb: Its name.
        title: What the toolbox calls it.
        summary: One line of help.
        details: The rest of it, in paragraphs.
    """

    verb = ""
    title = ""
    summary = ""
    details: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        #: Values for the command line, by parameter.
        self.values: dict[str, Any] = {}

    def createInstance(self) -> ImatchAlgorithm:
        """A new one, for each run."""
        return type(self)()

    def name(self) -> str:
        """The second part of its id, as in ``imatch:register``."""
        return self.verb

    def displayName(self) -> str:
        """Its name in the toolbox."""
        return self.title

    def shortDescription(self) -> str:
        """Its tooltip."""
        return self.summary

    def shortHelpString(self) -> str:
        """Its help, beside its dialog."""
        return "".join(f"<p>{text}</p>" for text in (self.summary, *self.details))

    def tags(self) -> list[str]:
        """What finds it in the toolbox beside its name."""
        return ["imatch", "co-registration", "coregistration", "image matching", "align", "georef"]

    def icon(self) -> Any:
        """Its picture."""
        return QIcon(str(Path(__file__).with_name("icon.svg")))

    def add(self, *parameters: Any, advanced: bool = False) -> None:
        """Adds parameters to the dialog, perhaps below *Advanced*."""
        for parameter in parameters:
            if advanced:
                flag = QgsProcessingParameterDefinition.FlagAdvanced
                parameter.setFlags(parameter.flags() | flag)
            self.addParameter(parameter)

    def take(self, parameters: Any, context: Any, names: Iterable[str]) -> None:
        """Takes plain values of the dialog for the command line."""
        for name in names:
            definition = self.parameterDefinition(name)
            if isinstance(definition, QgsProcessingParameterBoolean):
                self.values[name] = self.parameterAsBool(parameters, name, context)
            elif isinstance(definition, QgsProcessingParameterEnum):
                static = definition.usesStaticStrings()
                read = self.parameterAsEnumString if static else self.parameterAsEnum
                self.values[name] = read(parameters, name, context)
            elif isinstance(definition, QgsProcessingParameterBand):
                bands = self.parameterAsInts(parameters, name, context)
                self.values[name] = ",".join(str(band) for band in bands)
            elif isinstance(definition, QgsProcessingParameterRasterLayer):
                layer = self.raster(parameters, context, name)
                self.values[name] = None if layer is None else layer_path(layer)
            elif isinstance(definition, QgsProcessingParameterMapLayer):
                self.values[name] = self._layer_file(parameters, context, name)
            else:
                self.values[name] = self.parameterAsString(parameters, name, context).strip()

    def raster(self, parameters: Any, context: Any, name: str) -> Any:
        """A raster layer of the dialog; None where it may be left out and is.

        Raises:
            QgsProcessingException: There is no such layer or file.
        """
        layer = self.parameterAsRasterLayer(parameters, name, context)
        definition = self.parameterDefinition(name)
        optional = definition.flags() & QgsProcessingParameterDefinition.FlagOptional
        if layer is None and not (optional and parameters.get(name) in (None, "")):
            given = _shown(parameters.get(name))
            raise QgsProcessingException(
                f"{definition.description()}: {given} is no raster that QGIS opens"
            )
        return layer

    def layers(self, parameters: Any, context: Any, name: str) -> list[Any]:
        """Several layers of the dialog.

        Raises:
            QgsProcessingException: One of them is none.
        """
        layers = self.parameterAsLayerList(parameters, name, context)
        given = parameters.get(name)
        if isinstance(given, (list, tuple)) and len(layers) < len(given):
            what = self.parameterDefinition(name).description()
            named = ", ".join(_shown(one) for one in given)
            raise QgsProcessingException(f"{what}: QGIS does not open all of {named}")
        return list(layers)

    def take_images(
        self, parameters: Any, context: Any, names: Sequence[str], *, placed: bool = True
    ) -> list[Any]:
        """Takes the files of images to be registered; their layers.

        Args:
            parameters: Of the dialog.
            context: Of the run.
            names: The parameters.
            placed: Whether they have to say where they lie, unless the dialog ignores that.

        Raises:
            QgsProcessingException: One is no file, or does not say where it lies.
        """
        placed = placed and not self.values.get("NO_GEOCODING")
        layers = []
        for name in names:
            layer = self.raster(parameters, context, name)
            layers.append(layer)
            self.values[name] = None if layer is None else image_path(layer, placed=placed)
        return layers

    def _layer_file(self, parameters: Any, context: Any, name: str) -> str | None:
        """A mask or points as a file: shapes are exported, as filtered and edited, from anywhere.

        Raises:
            QgsProcessingException: It is no layer, or cannot be exported.
        """
        layer = self.parameterAsLayer(parameters, name, context)
        what = self.parameterDefinition(name).description()
        if layer is None:
            if parameters.get(name) in (None, ""):
                return None
            raise QgsProcessingException(f"{what}: {parameters[name]} is no layer that QGIS opens")
        if not isinstance(layer, QgsVectorLayer):
            return layer_path(layer)
        if not layer.isSpatial():
            raise QgsProcessingException(f"{what}: {layer.name()} is a table, and has no shapes")
        path = QgsProcessingUtils.generateTempFilename(f"{name.lower()}.gpkg")
        options = QgsVectorFileWriter.SaveVectorOptions()
        error, why, *_ = QgsVectorFileWriter.writeAsVectorFormatV3(
            layer, path, context.transformContext(), options
        )
        if error != QgsVectorFileWriter.NoError:
            raise QgsProcessingException(f"{layer.name()}: cannot be exported; {why}")
        return str(path)

    def run_imatch(
        self,
        build: Callable[[Mapping[str, Any]], list[str]],
        feedback: Any,
        *,
        outputs: Iterable[str] = (),
        codes: Sequence[int] = (0, NOT_REGISTERED),
    ) -> Told:
        """Runs imatch, telling QGIS what it does.

        Args:
            build: Makes the arguments of `values`.
            feedback: Of the run.
            outputs: Files that it writes; those that are empty are none.
            codes: Exit codes that are answers.

        Returns:
            What it told.

        Raises:
            QgsProcessingException: There is no imatch, it failed, or the run was cancelled.
        """
        shown = ""

        def progress(stage: str, percent: float | None) -> None:
            nonlocal shown
            if stage != shown:
                shown = stage
                feedback.setProgressText(stage)
            feedback.setProgress(0 if percent is None else percent)

        try:
            offline = ProcessingConfig.getSetting(OFFLINE)
            words = build({**self.values, "OFFLINE": offline})
            executable = find_executable(ProcessingConfig.getSetting(EXECUTABLE) or "")
            version = check_version(executable)
            feedback.pushInfo(f"imatch {version}: {executable}")
            feedback.pushCommandInfo(shlex.join(["imatch", *words]))
            return run(
                [str(executable), *words],
                outputs=[path for path in outputs if path],
                codes=codes,
                is_cancelled=feedback.isCanceled,
                on_progress=progress,
                on_line=feedback.pushConsoleInfo,
            )
        except (ValueError, ExecutableError, RunFailedError, RunCancelledError) as error:
            raise QgsProcessingException(str(error)) from None

    def output_path(self, parameters: Any, context: Any, name: str, suffix: str = "") -> str:
        """The path of an output; a temporary one with a suffix where it is left out."""
        path = self.parameterAsOutputLayer(parameters, name, context) if not suffix else ""
        path = path or self.parameterAsFileOutput(parameters, name, context)
        if not path and suffix:
            path = QgsProcessingUtils.generateTempFilename(f"result{suffix}")
        if path:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        return str(path)


def _shown(given: Any) -> str:
    """What the dialog was given for a layer, as people call it."""
    return str(given.name() if hasattr(given, "name") else given)


def load_layer(context: Any, source: str, name: str, output: str, *, style: Any = None) -> None:
    """Has Processing add a file to the map, where there is one.

    Args:
        context: Of the run.
        source: The file, and perhaps which layer of it.
        name: What the layer is to be called.
        output: The output that it is of.
        style: The style of the layer that it was made from.
    """
    if context.project() is None:
        return
    details = QgsProcessingContext.LayerDetails(name, context.project(), output)
    details.setPostProcessor(LayerDresser(name, style=style))
    context.addLayerToLoadOnCompletion(source, details)


def choice(name: str, text: str, options: Sequence[str], default: str) -> Any:
    """A parameter that takes one of some words."""
    return QgsProcessingParameterEnum(
        name, text, options=list(options), defaultValue=default, usesStaticStrings=True
    )


def text(name: str, label: str, default: str | None = None) -> Any:
    """A parameter that takes a line of text, or nothing."""
    return QgsProcessingParameterString(name, label, defaultValue=default, optional=True)


def switch(name: str, label: str, default: bool = False) -> Any:
    """A parameter that is on or off."""
    return QgsProcessingParameterBoolean(name, label, defaultValue=default)


def matching_parameters(*, bands_of: Sequence[tuple[str, str]] = ()) -> list[Any]:
    """Parameters of all verbs that match, for below *Advanced*.

    Args:
        bands_of: The parameter of each image and that of its bands; none for many images, which
            have no masks and tie points in common either.
    """
    bands = [
        QgsProcessingParameterBand(
            name,
            f"Bands of the {image.lower()} to match",
            parentLayerParameterName=image,
            optional=True,
            allowMultiple=True,
        )
        for image, name in bands_of
    ]
    masks = [
        QgsProcessingParameterMapLayer(
            name,
            f"Ground of the {image.lower()} to ignore (clouds, say)",
            optional=True,
            types=[QgsProcessing.TypeVectorPolygon, QgsProcessing.TypeRaster],
        )
        for image, name in (("REFERENCE", "REF_MASK"), ("TARGET", "TGT_MASK"))
        if bands_of
    ]
    points = [
        QgsProcessingParameterMapLayer(
            "POINTS",
            "Own tie points: a layer",
            optional=True,
            types=[QgsProcessing.TypeVectorPoint, QgsProcessing.TypeVectorLine],
        ),
        QgsProcessingParameterFile(
            "POINTS_FILE",
            "Own tie points: a file of the Georeferencer, a table or an earlier result",
            optional=True,
            fileFilter="Tie points (*.points *.csv *.gpkg *.geojson *.json *.npz)",
        ),
        switch("POINTS_ONLY", "Fit your own tie points alone; the images only judge them"),
    ]
    models = ["auto", "translation", "similarity", "affine", "homography"]
    return [
        *bands,
        *masks,
        *(points if bands_of else ()),
        text("MATCHER", "Matcher", "auto"),
        choice("MODEL", "Family of the transform", models, "auto"),
        text("TOLERANCE", "Tolerance, as 0.3px or 3m: how far any place may be off"),
        text("GEOCODING_ERROR", "How far the geocodings may lie apart, as 30m or 3px"),
        switch("NO_GEOCODING", "Ignore where the files say they lie"),
        QgsProcessingParameterRasterLayer("DEM", "Heights, for images with RPCs", optional=True),
        options_parameter(),
    ]


#: Names of `matching_parameters` that are plain values.
MATCHING_NAMES = (
    "MATCHER",
    "MODEL",
    "TOLERANCE",
    "GEOCODING_ERROR",
    "NO_GEOCODING",
    "DEM",
    "OPTIONS",
)
#: Those of pairs.
PAIR_NAMES = (
    *(*MATCHING_NAMES, "REF_BANDS", "TGT_BANDS", "REF_MASK", "TGT_MASK"),
    *("POINTS", "POINTS_FILE", "POINTS_ONLY"),
)


def options_parameter() -> Any:
    """A parameter for what else the command line knows."""
    return text("OPTIONS", "Further options, as on the command line")
