"""Writes registrations as files: JSON, tables, GIS layers, control points, figures, reports."""

from imatch.export.formats import FORMATS, NEED_A_TRANSFORM, check_outputs, write

__all__ = ["FORMATS", "NEED_A_TRANSFORM", "check_outputs", "write"]
