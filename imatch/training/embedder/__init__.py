"""Training embedders: chips of one place on different dates are to lie near each other."""
