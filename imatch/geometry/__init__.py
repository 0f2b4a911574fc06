"""Robust estimation: from putative matches to a transform and its accuracy."""
