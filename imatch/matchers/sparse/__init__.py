"""Matchers of keypoints with descriptors."""
