"""Downloading images: STAC, Kaggle, files on the web."""
