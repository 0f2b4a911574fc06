"""Networks that turn a chip into one vector: a backbone, pooling over valid ground, projections."""
