"""Training: data cut by place, augmentation, losses, trainers."""
