"""Results to files people and programs open."""
