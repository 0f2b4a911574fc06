"""Training: augmentation, losses, trainers."""
