"""DataArrays of xarray as images: what they say of themselves, reading them, warping them.

Nothing here imports xarray unless a DataArray is at hand; it comes with the extra ``xarray``.
"""
