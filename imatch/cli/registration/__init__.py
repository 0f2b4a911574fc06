"""The verbs that register images."""
