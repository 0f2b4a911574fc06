"""Data cards, contact sheets and previews."""
