"""Resampling rasters onto other grids."""
