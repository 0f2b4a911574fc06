"""Reading rasters: files, masks, common grids, rendering for matchers."""
