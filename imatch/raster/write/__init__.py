"""Writing rasters: GeoTIFF and COG, with what the source says of its pixels."""
