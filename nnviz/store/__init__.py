"""Everything that touches Zarr."""
