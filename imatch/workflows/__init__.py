"""What takes several rooms at once: registering files and writing all that comes of it."""
