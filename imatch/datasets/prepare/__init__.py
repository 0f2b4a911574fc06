"""Preparing a training data set: from images and polygons to chips, pairs and a manifest."""
