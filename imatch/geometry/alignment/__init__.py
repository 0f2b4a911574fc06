"""Correlation-based alignment of images: coarse search, fine alignment, local accuracy."""
