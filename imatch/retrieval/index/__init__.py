"""Index of chips: build, extend, resume, search."""
