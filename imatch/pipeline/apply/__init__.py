"""Applying a registration to rasters, products and vectors."""
