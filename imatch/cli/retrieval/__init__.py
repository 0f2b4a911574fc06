"""The verbs that search and compare images."""
