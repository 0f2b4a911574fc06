"""Matchers: two rendered images in, tie points out."""
