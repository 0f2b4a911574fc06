"""SpatioTemporal Asset Catalogs: items as images, collections as many."""
