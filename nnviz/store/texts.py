"""How are a million texts read at once? From their bytes to objects, in one step.

Zarr makes an array of its own dtype for texts on the way, which takes three times as
long. Pieces come through the same store as for Zarr, which checks them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import zarr
from numcodecs.vlen import VLenUTF8
from numcodecs.zstd import Zstd
from numpy.typing import NDArray
from zarr.codecs import VLenUTF8Codec, ZstdCodec
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

__all__ = ["unpacked_texts"]


def unpacked_texts(
    array: zarr.Array[Any], keys: Sequence[str]
) -> NDArray[np.object_] | None:
    """Return all texts of an array.

    Parameters
    ----------
    array
        As it was opened.
    keys
        Of its pieces in the store, in order.

    Returns
    -------
    ndarray or None
        Texts, shape (instance,); None where pieces are stored otherwise, are missing,
        or are not as they were written.
    """
    kinds = [type(codec) for codec in getattr(array.metadata, "codecs", ())]
    if array.ndim != 1 or kinds != [VLenUTF8Codec, ZstdCodec]:
        return None
    try:
        pieces = sync(_pieces(array, keys))
        parts = [_texts(data, array.chunks[0]) for data in pieces]
    except Exception:  # noqa: BLE001  codecs raise what they like; who reads it anew says
        return None
    return np.concatenate([np.zeros(0, dtype=object), *parts])[: array.shape[0]]


async def _pieces(array: zarr.Array[Any], keys: Sequence[str]) -> list[Any]:
    prototype = default_buffer_prototype()
    return await asyncio.gather(*(array.store.get(key, prototype) for key in keys))


def _texts(data: Any, n: int) -> NDArray[np.object_]:
    """Return the texts of a piece; raises where it has not so many, or is missing."""
    found: NDArray[np.object_] = VLenUTF8().decode(Zstd().decode(data.to_bytes()))
    if len(found) != n:
        msg = f"a piece has {len(found):,} texts, not {n:,}"
        raise ValueError(msg)
    return found
