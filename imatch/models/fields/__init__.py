"""A network that describes images so that two kinds of sensor agree."""
