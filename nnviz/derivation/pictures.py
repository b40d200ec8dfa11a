"""What does an example look like? The part of an instance that a channel looked at.

Photographs are cut with a little context and scaled smoothly; arrays are drawn as grey
or colour values and enlarged without smoothing, so that every element stays visible.
Data that are not a picture have none.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nnviz.inputs.datasets.items import Raw
from nnviz.inputs.preparation.decoding import decode_image
from nnviz.inputs.preparation.preprocessing import Box, Preprocessing
from nnviz.runs.config import PreprocessingConfig

__all__ = ["PICTURE_SIDE", "Drawing", "cut_picture", "draw", "whole_picture"]

PICTURE_SIDE = 96
"""Longer side of a picture in pixels."""

CONTEXT = 0.1
"""What is shown around a box on each side, as a fraction of its longer side."""

JPEG_QUALITY = 85

COLOUR_CHANNELS = (1, 3)


@dataclass(frozen=True, slots=True)
class Drawing:
    """An instance as an image, before it is cut."""

    image: Image.Image
    """Mode RGB or L."""
    is_photograph: bool
    """Whether it is scaled smoothly and stored as JPEG, or as it is and as PNG."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.image.size

    def box_of(self, box: Box, config: PreprocessingConfig) -> Box:
        """Map a box of the network's input to this image, cut off at its borders."""
        if config.kind == "image":
            return Preprocessing(config).crop_of(box, self.size)
        width, height = self.size
        left, right = np.clip((box[0], box[2]), 0, width)
        top, bottom = np.clip((box[1], box[3]), 0, height)
        return float(left), float(top), float(right), float(bottom)


def draw(raw: Raw, config: PreprocessingConfig) -> Drawing | None:
    """Return one instance as an image, or None if it is not a picture.

    Parameters
    ----------
    raw
        What a data set's ``read`` returned.
    config
        The ``[preprocessing]`` table, which says how files and axes are meant.

    Raises
    ------
    UnreadableInstanceError
        If the bytes are no readable image.

    Notes
    -----
    Arrays of uint8 are shown as they are. Others are stretched from the smallest to the
    largest value of the instance, so brightness compares within a picture only.
    """
    if isinstance(raw, (str, Mapping)):
        return None
    if isinstance(raw, bytes):
        image = decode_image(raw, exif_rotation=config.exif_rotation)
        return Drawing(image, is_photograph=True)
    planes = _channels_last(np.asarray(raw), config.layout)
    if planes is None:
        return None
    pixels = planes if planes.dtype == np.uint8 else _stretched(planes)
    if pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return Drawing(image, is_photograph=False)


def cut_picture(drawing: Drawing, box: Box) -> bytes:
    """Cut a box with some context around it, and return it as a file.

    Parameters
    ----------
    drawing
        The instance.
    box
        Left, top, right, bottom in its pixels.

    Returns
    -------
    bytes
        A JPEG of a photograph, or a PNG; its longer side has 96 pixels.
    """
    image = drawing.image.crop(_with_context(box, drawing.size))
    return _as_file(image, PICTURE_SIDE, is_photograph=drawing.is_photograph)


def whole_picture(drawing: Drawing, side: int) -> bytes:
    """Return a whole instance as a file.

    Parameters
    ----------
    drawing
        The instance.
    side
        Longer side of the picture in pixels.

    Returns
    -------
    bytes
        A JPEG of a photograph, or a PNG.
    """
    return _as_file(drawing.image, side, is_photograph=drawing.is_photograph)


def _as_file(image: Image.Image, side: int, *, is_photograph: bool) -> bytes:
    """Scale an image to a longer side in pixels, and write it."""
    scale = side / max(image.size)
    size = tuple(max(1, round(extent * scale)) for extent in image.size)
    assert len(size) == 2
    file = io.BytesIO()
    if is_photograph:
        image = image.resize(size, Image.Resampling.BICUBIC)
        image.save(file, "JPEG", quality=JPEG_QUALITY, optimize=True)
    else:
        image.resize(size, Image.Resampling.NEAREST).save(file, "PNG")
    return file.getvalue()


def _with_context(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Grow a box to a square with context, as far as the image reaches."""
    side = max(box[2] - box[0], box[3] - box[1]) * (1 + 2 * CONTEXT)
    side = max(1.0, side)
    starts, stops = [], []
    for axis, extent in enumerate(size):
        length = min(int(np.ceil(side)), extent)
        centre = (box[axis] + box[axis + 2]) / 2
        start = int(np.clip(np.floor(centre - length / 2), 0, extent - length))
        starts.append(start)
        stops.append(start + length)
    return starts[0], starts[1], stops[0], stops[1]


def _channels_last(array: NDArray[Any], layout: str) -> NDArray[Any] | None:
    """Return (H, W, 1 or 3), or None where the axes are not those of a picture."""
    if array.dtype.kind not in "iufb" or 0 in array.shape:
        return None
    if layout == "as-is":
        layout = _guess_layout(array.shape)
    if array.ndim != {"HW": 2, "CHW": 3, "HWC": 3}.get(layout):
        return None
    if layout == "HW":
        array = array[:, :, None]
    elif layout == "CHW":
        array = np.moveaxis(array, 0, -1)
    if array.shape[2] == 4:
        array = array[:, :, :3]
    return array if array.shape[2] in COLOUR_CHANNELS else None


def _guess_layout(shape: tuple[int, ...]) -> str:
    if len(shape) == 2:
        return "HW"
    if len(shape) == 3 and shape[0] in COLOUR_CHANNELS:
        return "CHW"
    return "HWC"


def _stretched(values: NDArray[Any]) -> NDArray[np.uint8]:
    numbers = np.nan_to_num(values.astype(np.float64), posinf=0, neginf=0)
    low, high = numbers.min(), numbers.max()
    if high == low:
        return np.full(numbers.shape, 128, dtype=np.uint8)
    pixels = np.round((numbers - low) / (high - low) * 255).astype(np.uint8)
    return np.asarray(pixels)
