"""Where in its picture did a channel fire? One map, laid over the whole instance.

A map has fewer positions than the network's input has pixels, and the network may have
seen a part of the picture only. Each position stands at the middle of what it sees;
between positions values go over smoothly, and outside of what was seen there are none.

Symbols: H, W extents of the map.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nnviz.inputs.preparation.preprocessing import Box
from nnviz.runs.architecture import ReceptiveField

__all__ = ["heat_picture", "heat_values"]


def heat_values(
    values: NDArray[np.floating],
    field: ReceptiveField | None,
    input_size: tuple[int, int],
    picture_size: tuple[int, int],
    box: Box,
) -> NDArray[np.float64]:
    """Return how strong a channel is at every pixel of a picture, in [0, 1].

    Parameters
    ----------
    values
        The channel's map, shape (H, W). Negative values and NaN are 0, the largest one
        is 1.
    field
        What each position sees of the input; None where it is not known: positions are
        then evenly spread.
    input_size
        Height and width of the network's input in pixels.
    picture_size
        Width and height of the picture that is wanted, in pixels.
    box
        Left, top, right, bottom of what the network saw, in these pixels.

    Returns
    -------
    ndarray
        Shape (height, width) of the picture; 0 outside of the box.
    """
    width, height = picture_size
    scaled = np.maximum(np.nan_to_num(values.astype(np.float64), posinf=0.0), 0.0)
    scaled /= max(float(scaled.max(initial=0.0)), np.finfo(np.float64).tiny)
    rows = _places(height, box[1], box[3], input_size[0], field, 0, scaled.shape[0])
    columns = _places(width, box[0], box[2], input_size[1], field, 1, scaled.shape[1])
    by_row = _between(scaled, np.nan_to_num(rows))
    found = _between(by_row.T, np.nan_to_num(columns)).T
    found[np.isnan(rows)] = 0.0
    found[:, np.isnan(columns)] = 0.0
    return found


def heat_picture(strength: NDArray[np.floating]) -> bytes:
    """Return strengths as a PNG file that is white, and opaque where they are large.

    The opacity is their power of 0.7: what is half as strong is still seen.

    Parameters
    ----------
    strength
        Shape (height, width), in [0, 1].
    """
    opacity = np.round(np.clip(strength, 0, 1) ** 0.7 * 255).astype(np.uint8)
    pixels = np.stack([np.full_like(opacity, 255), opacity], axis=-1)
    file = io.BytesIO()
    Image.fromarray(pixels, mode="LA").save(file, "PNG")
    return file.getvalue()


def _places(
    n_pixels: int,
    first: float,
    last: float,
    extent: int,
    field: ReceptiveField | None,
    axis: int,
    n_positions: int,
) -> NDArray[np.float64]:
    """Return at which position of the map each pixel lies; NaN outside of the box."""
    middle = np.arange(n_pixels) + 0.5
    is_seen = (middle >= first) & (middle <= last)
    seen = (middle - first) / max(last - first, 1e-9) * extent
    step, start = extent / n_positions, extent / n_positions / 2
    if field is not None and axis < len(field.step):
        step = field.step[axis]
        start = field.start[axis] + field.size[axis] / 2
    places = np.clip((seen - start) / max(step, 1e-9), 0, n_positions - 1)
    return np.where(is_seen, places, np.nan)


def _between(values: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[Any]:
    """Return rows at fractional places, each between its two neighbours."""
    lower = np.floor(places).astype(np.int64)
    upper = np.minimum(lower + 1, len(values) - 1)
    share = (places - lower)[:, None]
    between: NDArray[np.float64] = values[lower] * (1 - share) + values[upper] * share
    return between
