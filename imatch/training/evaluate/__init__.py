"""What embedders make of prepared chips."""
