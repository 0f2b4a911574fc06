"""Products of satellites: folders and archives of bands, masks and metadata."""
