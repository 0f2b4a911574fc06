"""Sampling of batches for embedders: by place, map or label."""
