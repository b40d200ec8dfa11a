"""Tensor mathematics, without Dask and Zarr."""
