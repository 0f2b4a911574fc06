"""Find the place: embeddings of chips, and what is done with them."""
