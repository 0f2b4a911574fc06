"""Registration of whole scenes tile by tile, with checkpoints."""
