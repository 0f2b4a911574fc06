"""A registration as files and words: tables, GIS layers, GCPs, JSON, a picture, a summary."""

from imatch.export.formats import FORMATS, WriteLog, check_outputs, write, write_all
from imatch.export.json import read_registration
from imatch.export.terminal import print_summary, summary

__all__ = [
    "FORMATS",
    "WriteLog",
    "check_outputs",
    "print_summary",
    "read_registration",
    "summary",
    "write",
    "write_all",
]
