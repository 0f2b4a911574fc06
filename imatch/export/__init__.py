"""Writes registrations as files: JSON, tables, GIS layers, control points, figures, reports."""

from imatch.export.formats import (
    FORMATS,
    NEED_A_TRANSFORM,
    WriteLog,
    check_outputs,
    write,
    write_all,
)

__all__ = ["FORMATS", "NEED_A_TRANSFORM", "WriteLog", "check_outputs", "write", "write_all"]
