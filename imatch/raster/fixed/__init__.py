"""What is fixed to the pixels and not to the ground: repeated pixels, marks, collars, blocks."""
