"""The SuperPoint network and its keypoint extraction."""
