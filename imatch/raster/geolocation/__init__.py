"""Places of pixels by ground control points (GCPs) and rational polynomials (RPCs)."""
