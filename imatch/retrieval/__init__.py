"""Image retrieval: embeddings of chips, index, search, same-ground decisions."""
