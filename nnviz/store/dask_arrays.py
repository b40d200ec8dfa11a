"""How are activations a Dask array? A block for each chunk, read where it is needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import dask.array

__all__ = ["activations_as_dask"]


def activations_as_dask(
    url: str,
    layer: str,
    chunks: Sequence[tuple[int, int]],
    n_channels: int,
    read: Callable[[str, str, int, int], NDArray[Any]],
) -> dask.array.Array:
    """Return activations of one layer, shape (instance, channel), float32.

    Parameters
    ----------
    url
        URL of the store.
    layer
        Name of a recorded layer.
    chunks
        First and past-last instance of each.
    n_channels
        Number of channels of the layer.
    read
        Module-level function of url, layer, first and past-last instance.
    """
    import dask.array as da  # noqa: PLC0415  slow to import, and needed here only
    from dask.delayed import delayed  # noqa: PLC0415  slow to import

    blocks = [
        da.from_delayed(
            delayed(read)(url, layer, start, stop),
            (stop - start, n_channels),
            np.float32,
        )
        for start, stop in chunks
    ]
    stacked: dask.array.Array = da.concatenate(blocks, axis=0)
    return stacked
