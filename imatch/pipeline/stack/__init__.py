"""Registration of many dates of one place onto each other."""
