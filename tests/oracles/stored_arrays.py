"""Arrays of a run's store, read with Zarr alone, by what the store says of itself."""

import math

import zarr


def stored_array(url, path):
    """Return an array of a run, whole, by its name; it may be part of a wide one."""
    root = zarr.open_group(str(url), mode="r")
    if path in root and not isinstance(root[path], zarr.Group):
        return root[path][:]
    name, first, shape = place_of(url, path)
    values = root[name][:, first : first + math.prod(shape)]
    return values.reshape(len(values), *shape)


def place_of(url, path):
    """Return the wide array that holds an array, its first column, and its shape."""
    root = zarr.open_group(str(url), mode="r")
    found = [
        (f"{name}/{array_name}", place["first"], tuple(place["shape"]))
        for name, group in root.groups()
        for array_name, array in group.arrays()
        for held, place in array.attrs.get("columns", {}).items()
        if held == path
    ]
    (place,) = found
    return place
