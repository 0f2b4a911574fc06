"""Smooth and piecewise displacement models."""
