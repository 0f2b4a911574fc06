"""Augmentation of pairs: geometry, colour and sensor effects that leave the truth exact."""
