"""Reading and writing files: atomic outputs, JSON, YAML, CSV, fingerprints."""
