"""Matchers without keypoints: dense networks and phase correlation."""
