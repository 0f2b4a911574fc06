"""Networks that turn a chip into one vector: backbones, pooling over valid ground, projections."""
