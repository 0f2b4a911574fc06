"""Reading rasters: files, products, arrays, masks."""
