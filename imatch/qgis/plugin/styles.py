"""How results look: arrows at tie points, rasters like their sources, names that say how sure."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from qgis.core import (
    QgsArrowSymbolLayer,
    QgsGeometryGeneratorSymbolLayer,
    QgsLineSymbol,
    QgsMapLayerStyle,
    QgsMarkerSymbol,
    QgsProcessingLayerPostProcessorInterface,
    QgsRuleBasedRenderer,
    QgsSimpleMarkerSymbolLayer,
    QgsSymbol,
    QgsVectorLayer,
)
from qgis.PyQt.QtGui import QColor

from .answer import Answer, exaggeration

#: Most target pixels of a class of residuals, and its colour: blue to red, for any eye.
_CLASSES = ((0.25, "#2c7bb6"), (0.5, "#7fcdee"), (1.0, "#ffffbf"), (2.0, "#fdae61"))
_LARGEST = "#d7191c"
_OUTLIER = "#9a9a9a"
_RIM = "#1a1a1a"
#: Name of the layer of a GeoPackage that holds the tie points.
_POINTS = "tie_points"


class LayerDresser(QgsProcessingLayerPostProcessorInterface):
    """Names and styles a layer once Processing has loaded it.

    Args:
        name: What it is to be called.
        answer: The registration, for tie points.
        style: The style of a layer to look like.
    """

    #: QGIS keeps no reference of its own.
    kept: ClassVar[list[LayerDresser]] = []

    def __init__(self, name: str, answer: Answer | None = None, style: Any = None) -> None:
        super().__init__()
        self._name, self._answer, self._style = name, answer, style
        self.kept.append(self)

    def postProcessLayer(self, layer: Any, context: Any, feedback: Any) -> None:
        """Names and styles the layer."""
        name = self._name
        if self._answer is not None:
            name = f"{name} ({arrow_style(layer, self._answer)})"
        elif self._style is not None:
            self._style.writeToLayer(layer)
        layer.setName(name)
        layer.triggerRepaint()


def style_of(layer: Any) -> Any:
    """The style of a layer, to give to another."""
    style = QgsMapLayerStyle()
    style.readFromLayer(layer)
    return style


def keep_style(path: str, answer: Answer) -> None:
    """Writes the style of tie points into their GeoPackage, where every QGIS finds it.

    Args:
        path: The file.
        answer: The registration.
    """
    layer = QgsVectorLayer(f"{path}|layername={_POINTS}", _POINTS, "ogr")
    if path.lower().endswith(".gpkg") and layer.isValid():
        told = arrow_style(layer, answer)
        layer.saveStyleToDatabase("residuals", f"Residuals, {told}", True, "")


def arrow_style(layer: Any, answer: Answer) -> str:
    """Draws the residual of each tie point as an arrow, coloured by its length.

    Args:
        layer: Tie points, as imatch writes them.
        answer: The registration.

    Returns:
        What to say of the arrows: ``"residuals × 20"``.
    """
    axes = answer.arrow_axes()
    factor = exaggeration(_longest(layer, axes), _room(layer)) if axes is not None else 1.0
    root = QgsRuleBasedRenderer.Rule(None)
    below = 0.0
    for most, colour in _CLASSES:
        label = f"under {most:g} px" if below == 0 else f"{below:g} to {most:g} px"
        rule = f'"inlier" AND "residual_px" >= {below} AND "residual_px" < {most}'
        root.appendChild(_rule(_arrow(colour, axes, factor), rule, label))
        below = most
    rule = f'"inlier" AND ("residual_px" >= {below} OR "residual_px" IS NULL)'
    root.appendChild(_rule(_arrow(_LARGEST, axes, factor), rule, f"{below:g} px and more"))
    root.appendChild(_rule(_cross(), 'NOT "inlier"', "does not agree, left out"))
    layer.setRenderer(QgsRuleBasedRenderer(root))
    return f"residuals × {factor:g}"


def _rule(symbol: Any, expression: str, label: str) -> Any:
    return QgsRuleBasedRenderer.Rule(symbol, 0, 0, expression, label)


def _arrow(colour: str, axes: tuple[float, float, float, float] | None, factor: float) -> Any:
    """A dot on the tie point, and the arrow of its residual."""
    symbol = QgsMarkerSymbol()
    dot = QgsSimpleMarkerSymbolLayer()
    dot.setColor(QColor(colour))
    dot.setStrokeColor(QColor(_RIM))
    dot.setStrokeWidth(0.2)
    dot.setSize(2.0)
    if axes is None:
        symbol.changeSymbolLayer(0, dot)
        return symbol
    a, b, c, d = (factor * value for value in axes)
    generator = QgsGeometryGeneratorSymbolLayer.create(
        {
            "geometryModifier": "make_line($geometry, translate($geometry, "
            f'{a!r} * "dx_px" + {b!r} * "dy_px", {c!r} * "dx_px" + {d!r} * "dy_px"))'
        }
    )
    generator.setSymbolType(QgsSymbol.Line)
    line = QgsLineSymbol()
    arrow = QgsArrowSymbolLayer()
    arrow.setIsCurved(False)
    arrow.setIsRepeated(False)
    arrow.setArrowWidth(1.0)
    arrow.setArrowStartWidth(1.0)
    arrow.setHeadLength(2.4)
    arrow.setHeadThickness(1.5)
    arrow.subSymbol().setColor(QColor(colour))
    fill = arrow.subSymbol().symbolLayer(0)
    fill.setStrokeColor(QColor(_RIM))
    fill.setStrokeWidth(0.15)
    line.changeSymbolLayer(0, arrow)
    generator.setSubSymbol(line)
    symbol.changeSymbolLayer(0, generator)
    symbol.appendSymbolLayer(dot)
    return symbol


def _cross() -> Any:
    return QgsMarkerSymbol.createSimple(
        {"name": "cross2", "size": "1.8", "outline_color": _OUTLIER, "outline_width": "0.35"}
    )


def _longest(layer: Any, axes: tuple[float, float, float, float]) -> float:
    """The length that 95 % of the arrows of agreeing points stay below, map units."""
    a, b, c, d = axes
    lengths = sorted(
        math.hypot(a * f["dx_px"] + b * f["dy_px"], c * f["dx_px"] + d * f["dy_px"])
        for f in layer.getFeatures()
        if f["inlier"] and isinstance(f["dx_px"], float) and isinstance(f["dy_px"], float)
    )
    return lengths[int(0.95 * (len(lengths) - 1))] if lengths else 0.0


def _room(layer: Any) -> float:
    """The distance of neighbouring tie points were they spread evenly, map units."""
    extent, count = layer.extent(), layer.featureCount()
    if count < 2:
        return 0.0
    return math.sqrt(extent.width() * extent.height() / count)
