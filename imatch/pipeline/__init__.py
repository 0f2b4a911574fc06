"""Where the stages meet: files in, a registration out."""
