"""Algorithms on two images: Match, Register, Same ground?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessing,
    QgsProcessingException,
    QgsProcessingOutputBoolean,
    QgsProcessingOutputNumber,
    QgsProcessingOutputString,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterVectorDestination,
)

from .algorithm import (
    PAIR_NAMES,
    ImatchAlgorithm,
    choice,
    matching_parameters,
    options_parameter,
    switch,
    text,
)
from .answer import Answer
from .command import match_command, register_command, same_command
from .styles import LayerDresser, keep_style, style_of

_BANDS = (("REFERENCE", "REF_BANDS"), ("TARGET", "TGT_BANDS"))
_ARROWS = (
    "Arrows at the tie points are residuals: from where a point of the ground is on the reference"
    " to where the registered target has it, drawn longer by the factor in the layer's name."
)
_POINTS = (
    "<i>Own tie points</i> under <i>Advanced</i> are proposed beside the matcher's, or fitted"
    " alone: those of an earlier run that you moved and deleted, those of the Georeferencer, or"
    " lines that you draw from where the target shows a place to where the reference does."
)
_VERDICT = (
    "Layers are called by the status and the bound that holds everywhere in the overlap with 95 %"
    " confidence, as <i>ok ± 7.4 m</i>. <i>ok</i> is a promise; do not rely on <i>uncertain</i>."
)


class PairAlgorithm(ImatchAlgorithm):
    """An algorithm that registers a target to a reference."""

    def initAlgorithm(self, config: Any = None) -> None:
        """Adds the images, and what all such algorithms know."""
        self.add(*image_parameters())
        self.add(*self.own_parameters())
        self.add(*matching_parameters(bands_of=_BANDS), advanced=True)
        self.add(
            QgsProcessingParameterVectorDestination(
                "TIE_POINTS", "Tie points", QgsProcessing.TypeVectorPoint, optional=True
            ),
            QgsProcessingParameterFileDestination(
                "RESULT", "Result, for Apply", "JSON (*.json)", optional=True
            ),
        )
        self.addOutput(QgsProcessingOutputString("STATUS", "Status"))
        self.addOutput(QgsProcessingOutputString("REASON", "Why"))
        self.addOutput(QgsProcessingOutputNumber("BOUND_M", "95 % bound, metres"))

    def own_parameters(self) -> list[Any]:
        """Parameters of one such algorithm alone."""
        return []

    def prepareAlgorithm(self, parameters: Any, context: Any, feedback: Any) -> bool:
        """Takes what the dialog says; here layers may be asked."""
        self.take(parameters, context, PAIR_NAMES)
        _, self.target = self.take_images(parameters, context, ("REFERENCE", "TARGET"))
        if self.values["REFERENCE"] == self.values["TARGET"]:
            raise QgsProcessingException(
                f"{self.target.name()}: is both reference and target; choose two images"
            )
        self.target_name, self.target_style = self.target.name(), style_of(self.target)
        return True

    def take_outputs(self, parameters: Any, context: Any) -> list[str]:
        """Takes where to write; the files. What is to be loaded is forgotten if asked earlier."""
        self.values["RESULT"] = self.output_path(parameters, context, "RESULT", ".json")
        self.values["TIE_POINTS"] = self.output_path(parameters, context, "TIE_POINTS")
        return [self.values["RESULT"], self.values["TIE_POINTS"]]

    def told_results(self, context: Any, feedback: Any) -> dict[str, Any]:
        """Reads the result, dresses the tie points, and says how sure it is."""
        path, points = self.values["RESULT"], self.values["TIE_POINTS"]
        self.answer = answer = Answer.read(path)
        if points and Path(points).exists():
            keep_style(points, answer)
            self.dress(
                context, points, f"{self.target_name} tie points: {answer.verdict}", answer=answer
            )
        say = feedback.pushInfo if answer.status == "ok" else feedback.pushWarning
        say(f"{answer.verdict}: {answer.reason}")
        certificate = answer.document.get("certificate") or {}
        results = {"RESULT": path, "STATUS": answer.status, "REASON": answer.reason}
        if certificate.get("corner_ci95_m") is not None:
            results["BOUND_M"] = certificate["corner_ci95_m"]
        return {**results, "TIE_POINTS": points} if points else results

    def dress(self, context: Any, path: str, name: str, **how: Any) -> None:
        """Names and styles a layer that Processing will load; see `LayerDresser`."""
        if context.willLoadLayerOnCompletion(path):
            details = context.layerToLoadOnCompletionDetails(path)
            details.name = name
            details.setPostProcessor(LayerDresser(name, **how))


class MatchAlgorithm(PairAlgorithm):
    """Finds how a target lies on a reference."""

    verb = "match"
    title = "Match"
    summary = "Finds how the target lies on the reference, and says how far to trust the answer."
    details = (
        "Gives tie points and a result that <i>Apply</i> puts to other files. To get the target"
        " itself on the reference's pixels, use <i>Register</i>.",
        _VERDICT,
        _ARROWS,
        _POINTS,
    )

    def processAlgorithm(self, parameters: Any, context: Any, feedback: Any) -> dict[str, Any]:
        """Runs ``imatch match``."""
        outputs = self.take_outputs(parameters, context)
        self.run_imatch(match_command, feedback, outputs=outputs)
        return self.told_results(context, feedback)


class RegisterAlgorithm(PairAlgorithm):
    """Writes the target on the reference's pixels."""

    verb = "register"
    title = "Register"
    summary = "Puts the target on the reference, whole and at full resolution."
    details = (
        "Finds the rough answer on reduced images, measures tie points tile by tile, bends the"
        " transform where that predicts held-out tie points better, and writes the target.",
        "Nothing is written if the answer is not <i>ok</i>, unless you tick <i>Write it even if the"
        " answer is not ok</i>; <i>Match</i> shows the tie points of such a pair.",
        _VERDICT,
        _ARROWS,
        _POINTS,
    )

    def own_parameters(self) -> list[Any]:
        """Where and how the target is written."""
        lattice = choice(
            "GRID",
            "Pixels to write on: the reference's, or its own",
            ["reference", "target"],
            "reference",
        )
        methods = ["auto", "nearest", "bilinear", "cubic", "lanczos"]
        families = ["auto", "none", "polynomial2", "polynomial3", "spline", "tps"]
        self.add(
            choice("LOCAL", "Smooth displacement on top of the transform", families, "auto"),
            lattice,
            choice("RESAMPLING", "Resampling", methods, "auto"),
            switch("GEOTRANSFORM_ONLY", "Correct where it lies, and leave its pixels untouched"),
            switch("FORCE", "Write it even if the answer is not ok"),
            advanced=True,
        )
        return [
            QgsProcessingParameterRasterDestination("OUTPUT", "Registered"),
            QgsProcessingParameterFileDestination(
                "REPORT", "Report", "HTML (*.html)", optional=True, createByDefault=False
            ),
        ]

    def prepareAlgorithm(self, parameters: Any, context: Any, feedback: Any) -> bool:
        """Takes what the dialog says."""
        super().prepareAlgorithm(parameters, context, feedback)
        own = ("LOCAL", "GRID", "RESAMPLING", "GEOTRANSFORM_ONLY", "FORCE")
        self.take(parameters, context, own)
        return True

    def take_outputs(self, parameters: Any, context: Any) -> list[str]:
        """Takes where to write; the files."""
        documents = super().take_outputs(parameters, context)
        self.values["OUTPUT"] = self.output_path(parameters, context, "OUTPUT")
        self.values["REPORT"] = self.parameterAsFileOutput(parameters, "REPORT", context)
        return [self.values["OUTPUT"], *documents, self.values["REPORT"]]

    def processAlgorithm(self, parameters: Any, context: Any, feedback: Any) -> dict[str, Any]:
        """Runs ``imatch register``."""
        outputs = self.take_outputs(parameters, context)
        told = self.run_imatch(register_command, feedback, outputs=outputs)
        if Path(self.values["OUTPUT"]) not in told.written:
            raise QgsProcessingException(
                f"not registered: {told.complaint}; Match shows the tie points"
            )
        results = self.told_results(context, feedback)
        path = self.values["OUTPUT"]
        name = f"{self.target_name} registered: {self.answer.verdict}"
        self.dress(context, path, name, style=self.target_style)
        if self.values["REPORT"]:
            results["REPORT"] = self.values["REPORT"]
        return {"OUTPUT": path, **results}


class SameGroundAlgorithm(ImatchAlgorithm):
    """Says whether two images show the same ground."""

    verb = "same"
    title = "Same ground?"
    summary = "Says whether two images show the same ground, how probable that is, and why."
    details = (
        "The answer rests on what the matcher certifies and on how alike the images' embeddings"
        " are. The embedder is fetched at its first use (19 MB), unless you leave it out.",
    )

    def initAlgorithm(self, config: Any = None) -> None:
        """Adds its parameters."""
        self.add(*image_parameters("First image", "Second image"))
        self.add(switch("NO_EMBEDDER", "Decide by the match alone, and fetch nothing"))
        self.add(
            text("MATCHER", "Matcher", "auto"),
            switch("NO_GEOCODING", "Ignore where the files say they lie"),
            options_parameter(),
            advanced=True,
        )
        self.addOutput(QgsProcessingOutputBoolean("SAME", "Same ground"))
        self.addOutput(QgsProcessingOutputNumber("PROBABILITY", "Probability"))
        self.addOutput(QgsProcessingOutputString("REASON", "Why"))

    def prepareAlgorithm(self, parameters: Any, context: Any, feedback: Any) -> bool:
        """Takes what the dialog says."""
        self.take(parameters, context, ("NO_EMBEDDER", "MATCHER", "NO_GEOCODING", "OPTIONS"))
        self.take_images(parameters, context, ("REFERENCE", "TARGET"), placed=False)
        return True

    def processAlgorithm(self, parameters: Any, context: Any, feedback: Any) -> dict[str, Any]:
        """Runs ``imatch same``."""
        told = self.run_imatch(same_command, feedback)
        answer = json.loads(told.answer)
        yes = "the same ground" if answer["same"] else "not the same ground"
        feedback.pushInfo(f"{yes}, probability {answer['probability']:.3f}: {answer['reason']}")
        return {
            "SAME": bool(answer["same"]),
            "PROBABILITY": answer["probability"],
            "REASON": answer["reason"],
        }


def image_parameters(first: str = "Reference", second: str = "Target") -> list[Any]:
    """The two images."""
    return [
        QgsProcessingParameterRasterLayer("REFERENCE", first),
        QgsProcessingParameterRasterLayer("TARGET", second),
    ]
