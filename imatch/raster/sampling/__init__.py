"""Values and source positions between pixels, shared by reading and warping."""
