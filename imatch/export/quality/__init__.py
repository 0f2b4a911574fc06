"""The quality report of a registration."""
