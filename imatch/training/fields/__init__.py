"""Training of field networks: maps of images that correlate across sensors."""
